import { existsSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** Directories at which cgroup hierarchies are mounted, v1 and v2. */
function hierarchies() {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , type]) => type === 'cgroup' || type === 'cgroup2')
    .map(([, mountpoint = '']) => mountpoint);
}

/**
 * Which of these cgroups exist in some hierarchy.
 * @param {readonly string[]} names relative to the root of a hierarchy
 */
export function existingCgroups(names) {
  return hierarchies().flatMap((mountpoint) =>
    names.map((name) => join(mountpoint, name)).filter((path) => existsSync(path)),
  );
}

/**
 * Removes these cgroups with everything below them, in every hierarchy. Their processes are gone or going: a cgroup is busy until
 * the last one is reaped, so this waits.
 * @param {readonly string[]} names relative to the root of a hierarchy
 * @param {number} [timeoutMs] 10 s by default
 * @returns {Promise<string[]>} those that could not be removed
 */
export async function removeCgroups(names, timeoutMs = 10_000) {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    for (const path of existingCgroups(names)) removeTree(path);
    const left = existingCgroups(names);
    if (left.length === 0 || performance.now() > deadline) return left;
    await delay(50);
  }
}

/** @param {string} path */
function removeTree(path) {
  try {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      if (entry.isDirectory()) removeTree(join(path, entry.name));
    }
    rmdirSync(path);
  } catch {
    // Busy still, or gone meanwhile: whoever waits looks again.
  }
}
