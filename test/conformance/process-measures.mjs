import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';

const KIB = 1024;

/**
 * @typedef {object} ProcessMeasure
 * @property {number} descriptors
 * @property {number} threads
 * @property {number} residentBytes
 */

/**
 * @param {number} pid seen from here
 * @returns {ProcessMeasure}
 */
export function measureProcess(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: readdirSync(`/proc/${pid}/task`).length,
    residentBytes: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * KIB,
  };
}

/**
 * Those of these processes that run a program of this name, whatever they call themselves.
 * @param {readonly number[]} pids
 * @param {string} name
 */
export function processesOf(pids, name) {
  return pids.filter((pid) => {
    try {
      return readlinkSync(`/proc/${pid}/exe`)
        .replace(/ \(deleted\)$/, '')
        .endsWith(`/${name}`);
    } catch {
      return false; // It ended meanwhile.
    }
  });
}

/**
 * The share of memory that a process has to answer for: pages of its own, and its part of shared ones.
 * @param {number} pid
 */
export function proportionalBytes(pid) {
  const path = `/proc/${pid}/smaps_rollup`;
  if (!existsSync(path)) return 0; // It ended meanwhile.
  return Number(/^Pss:\s+(\d+) kB$/m.exec(readFileSync(path, 'utf8'))?.[1] ?? 0) * KIB;
}
