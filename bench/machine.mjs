import { readFileSync } from 'node:fs';
import { availableParallelism, release, totalmem } from 'node:os';

/** @import { Results } from './contract.js' */

/**
 * What a reader must know of the machine that the numbers come from.
 * @param {readonly string[]} args of the benchmark
 * @returns {Results['machine']}
 */
export function describeMachine(args) {
  return {
    cores: availableParallelism(),
    processor: field('/proc/cpuinfo', /^model name\s*:\s*(.+)$/m),
    memoryBytes: totalmem(),
    kernel: release(),
    system: field('/etc/os-release', /^PRETTY_NAME="?([^"\n]+)"?$/m),
    date: new Date().toISOString().slice(0, 10),
    command: ['npm run bench', ...(args.length > 0 ? ['--', ...args] : [])].join(' '),
  };
}

/** @param {string} path @param {RegExp} pattern */
function field(path, pattern) {
  return pattern.exec(readFileSync(path, 'utf8'))?.[1]?.trim() ?? 'unknown';
}
