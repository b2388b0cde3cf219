import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** All cgroups of the benchmark are below this one, which is there as long as one of them is. */
const PARENT = 'cais-bench';

const POLL_MS = 5;
const END_TIMEOUT_MS = 10_000;

let lastNumber = 0;

/**
 * A cgroup that accounts for processors: in the cpuacct hierarchy of cgroup v1 where there is one, else in cgroup v2.
 */
export class Cgroup {
  /** The file that a process writes its id to in order to join. */
  processesPath;
  #directory;
  #isVersion1;

  /** @param {string} [name] of one that is there; a new one by default */
  constructor(name) {
    const { mountpoint, isVersion1 } = findHierarchy();
    if (name === undefined) lastNumber += 1;
    this.#directory = join(mountpoint, PARENT, name ?? `${process.pid}-${lastNumber}`);
    this.#isVersion1 = isVersion1;
    this.processesPath = join(this.#directory, 'cgroup.procs');
    mkdirSync(this.#directory, { recursive: true });
  }

  /** User and system time of everything that is or was in here. */
  cpuSeconds() {
    if (this.#isVersion1) {
      return Number(readFileSync(join(this.#directory, 'cpuacct.usage'), 'utf8')) / 1e9;
    }
    const statistics = readFileSync(join(this.#directory, 'cpu.stat'), 'utf8');
    return Number(/^usage_usec (\d+)$/m.exec(statistics)?.[1]) / 1e6;
  }

  /** Ids of the processes in here, of those in cgroups below too. */
  processIds() {
    return this.#directories().flatMap((directory) => {
      try {
        return readFileSync(join(directory, 'cgroup.procs'), 'utf8')
          .split('\n')
          .filter((line) => line !== '')
          .map(Number);
      } catch {
        return []; // A cgroup that a peer made in here has gone again.
      }
    });
  }

  /** Kills what is in here, waits for its end and removes the cgroup. Calling twice, or in two processes at once, is fine. */
  async close() {
    const deadline = performance.now() + END_TIMEOUT_MS;
    while (!this.#isRemoved()) {
      const ids = this.processIds();
      for (const pid of ids) killIfThere(pid);
      if (performance.now() > deadline) {
        throw new Error(`Cannot remove cgroup "${this.#directory}" with processes [${ids}]`);
      }
      // Nothing tells of the end of processes that are nobody's children.
      await delay(POLL_MS);
    }
    // Others may be in there.
    removeIfEmpty(join(this.#directory, '..'));
  }

  /** Removes what of it is empty; a process that is ending may keep it for a moment though it is no longer listed. */
  #isRemoved() {
    return this.#directories().reverse().every(removeIfEmpty);
  }

  /** Itself and the cgroups below it, parents first. */
  #directories() {
    /** @param {string} directory @returns {string[]} */
    const list = (directory) => [
      directory,
      ...subdirectories(directory).flatMap((name) => list(join(directory, name))),
    ];
    return list(this.#directory);
  }
}

/** Kills the processes of runs that were killed themselves, and removes their cgroups. */
export async function removeAbandonedCgroups() {
  for (const name of subdirectories(join(findHierarchy().mountpoint, PARENT))) {
    if (!existsSync(`/proc/${name.split('-')[0]}`)) await new Cgroup(name).close();
  }
}

/**
 * @param {string} directory
 * @returns {string[]} names; none when the directory is gone
 */
function subdirectories(directory) {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch {
    return [];
  }
}

/**
 * @param {string} directory
 * @returns {boolean} whether it is gone
 */
function removeIfEmpty(directory) {
  try {
    rmdirSync(directory);
    return true;
  } catch {
    return !existsSync(directory);
  }
}

function findHierarchy() {
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '));
  const version1 = mounts.find(
    ([, , type, options = '']) => type === 'cgroup' && options.split(',').includes('cpuacct'),
  );
  if (version1?.[1]) return { mountpoint: version1[1], isVersion1: true };
  const version2 = mounts.find(([, , type]) => type === 'cgroup2');
  if (version2?.[1]) return { mountpoint: version2[1], isVersion1: false };
  throw new Error('No cgroup hierarchy that accounts for processors is mounted');
}

/** @param {number} pid */
function killIfThere(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended meanwhile.
  }
}
