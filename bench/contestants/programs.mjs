import { execFile } from 'node:child_process';
import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

const DIRECTORIES = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/**
 * Path of a program inside a root file system, or undefined when it is not installed there.
 * @param {string} root
 * @param {string} program
 */
export function programIn(root, program) {
  return DIRECTORIES.map((directory) => join(directory, program)).find(
    // Not followed: an absolute link leads elsewhere inside the root.
    (path) => lstatSync(join(root, path), { throwIfNoEntry: false }) !== undefined,
  );
}

/** Go programs of other systems want to know their own path from /proc; the mount ends with the process. */
const ASK = 'mount --rbind /proc "$1/proc" && exec chroot "$@"';

/**
 * What a program of a root file system prints, to tell its version or its configuration.
 * @param {string} root
 * @param {readonly string[]} command
 */
export async function askProgram(root, command) {
  const inside = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', ASK, 'ask', root];
  const [program = '', ...rest] = root === '/' ? command : [...inside, ...command];
  const { stdout, stderr } = await execute(program, rest, {
    env: { PATH: DIRECTORIES.join(':'), HOME: '/root' },
    maxBuffer: 2 ** 24,
    timeout: 20_000,
  });
  return stdout + stderr;
}

/**
 * The first version number in what a program says of itself; Debian's and the packagers' suffixes are left out.
 * @param {string} text
 */
export function parseVersion(text) {
  return /(?:^|[\s/v(-])(\d+\.\d+(?:\.\d+)?)/m.exec(text)?.[1];
}
