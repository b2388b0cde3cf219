import { existsSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const END_TIMEOUT_MS = 5000;
const POLL_MS = 5;

/** What the cgroups of this process's containers are called. */
export const CONTAINER_CGROUP = `cais-bench-container-${process.pid}`;

/**
 * Removes what a peer left of the cgroups called CONTAINER_CGROUP, at the top of every hierarchy or below this process's own
 * cgroup, and kills what is still in them. Does nothing when there are none.
 */
export async function removeContainerCgroups() {
  for (const directory of candidates()) await removeTree(directory);
}

/** @returns {string[]} */
function candidates() {
  const own = readFileSync('/proc/self/cgroup', 'utf8')
    .split('\n')
    .map((line) => line.split(':').slice(2).join(':'));
  const mountpoints = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , type]) => type === 'cgroup' || type === 'cgroup2')
    .map(([, mountpoint = '']) => mountpoint);
  return mountpoints.flatMap((mountpoint) =>
    [...new Set(['/', ...own])].flatMap((path) =>
      // cais keeps its supervisors in a cgroup beside that of the containers.
      ['', '.supervisors'].map((suffix) => join(mountpoint, path, CONTAINER_CGROUP + suffix)),
    ),
  );
}

/** @param {string} directory */
async function removeTree(directory) {
  if (!existsSync(directory)) return;
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) await removeTree(join(directory, entry.name));
  }
  const deadline = performance.now() + END_TIMEOUT_MS;
  for (;;) {
    killProcesses(directory);
    try {
      rmdirSync(directory);
      return;
    } catch (error) {
      if (!existsSync(directory)) return;
      if (performance.now() > deadline) throw error;
    }
    await sleep(POLL_MS);
  }
}

/** @param {string} directory */
function killProcesses(directory) {
  try {
    for (const pid of readFileSync(join(directory, 'cgroup.procs'), 'utf8').split('\n')) {
      if (pid !== '') process.kill(Number(pid), 'SIGKILL');
    }
  } catch {
    // The cgroup or the process has gone meanwhile.
  }
}
