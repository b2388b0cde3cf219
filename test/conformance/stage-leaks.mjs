import { readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { existingCgroups } from './cgroups.mjs';

/** @typedef {import('./bed.mjs').TestBed} TestBed */

/**
 * What a runtime without pods, and not running, has left in its stage; a supervisor ends a moment after its last answer, so this waits.
 * @param {TestBed} bed
 * @param {number} [timeoutMs] 15 s by default
 * @returns {Promise<string[]>} a line each
 */
export async function findStageLeaks(bed, timeoutMs = 15_000) {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const leaks = await look(bed);
    if (leaks.length === 0 || performance.now() > deadline) return leaks;
    await delay(100);
  }
}

/** @param {TestBed} bed */
async function look({ stage, runtime }) {
  const { stdout: mounts } = await stage.run(['cat', '/proc/self/mountinfo']);
  const { stdout: processes } = await stage.run(['ps', '-e', '-o', 'args=']);
  const { stdout: links } = await stage.run(['ip', '-o', 'link']);
  const found = [
    ...mounts
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '')
      .filter((place) => place.startsWith(`${stage.directory}/`))
      .map((place) => `mount ${place}`),
    ...processes
      .split('\n')
      .filter((line) => line !== '' && !/^(cat$|ps -e|\S*docker-registry )/.test(line))
      .map((line) => `process ${line}`),
    ...links
      .split('\n')
      .filter((line) => / (veth|cais-?veth)|@if\d+/.test(line))
      .map((line) => `link ${line}`),
    ...existingCgroups([stage.cgroup, `${stage.cgroup}.supervisors`]).flatMap((path) =>
      readdirSync(path, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((entry) => `cgroup ${path}/${entry.name}`),
    ),
    ...['active', 'ingest', 'trash'].flatMap((name) =>
      entries(`${runtime.directory}/root/${name}`),
    ),
  ];
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const line of found) counts.set(line, (counts.get(line) ?? 0) + 1);
  return [...counts].map(([line, count]) => (count === 1 ? line : `${line} (${count} times)`));
}

/** @param {string} directory */
function entries(directory) {
  try {
    return readdirSync(directory).map((name) => `file ${directory}/${name}`);
  } catch {
    return []; // Another runtime has other directories.
  }
}
