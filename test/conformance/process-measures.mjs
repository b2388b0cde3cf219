import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';

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
 * Those of these processes that were started by this name. The link to the executable says nothing of one that runs from a mount
 * that is nowhere attached.
 * @param {readonly number[]} pids
 * @param {string} name
 */
export function processesOf(pids, name) {
  return pids.filter((pid) => {
    try {
      const [program = ''] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return basename(program) === name;
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
