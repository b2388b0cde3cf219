import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';

const OUTPUT_MAX_CHARS = 64 * 1024;

/**
 * Runs a program of this machine to its end and returns its standard output.
 * @param {string} program
 * @param {readonly string[]} args
 * @param {object} [options]
 * @param {string} [options.cwd]
 * @param {Readonly<Record<string, string>>} [options.env] added to the environment of this process
 * @param {string} [options.stdinPath] standard input from this file
 * @param {string} [options.stdoutPath] standard output into this file, made anew, in place of returning it
 * @returns {Promise<string>}
 * @throws Error with the end of its standard error when it cannot be started or fails
 */
export async function runCommand(program, args, options = {}) {
  const { stdinPath, stdoutPath } = options;
  /** @type {number[]} */
  const opened = [];
  try {
    const input = stdinPath === undefined ? 'ignore' : openSync(stdinPath, 'r');
    if (typeof input === 'number') opened.push(input);
    const output = stdoutPath === undefined ? 'pipe' : openSync(stdoutPath, 'w', 0o644);
    if (typeof output === 'number') opened.push(output);

    const child = spawn(program, args, {
      stdio: [input, output, 'pipe'],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: { ...process.env, ...options.env },
    });
    const killWithUs = () => child.kill('SIGKILL');
    process.once('exit', killWithUs);
    child.once('close', () => process.removeListener('exit', killWithUs));
    let stdout = '';
    let stderr = '';
    child.stdout?.setEncoding('utf8').on('data', (text) => {
      stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text) => {
      stderr = (stderr + text).slice(-OUTPUT_MAX_CHARS);
    });
    return await new Promise((resolve, reject) => {
      child.once('error', (cause) =>
        reject(new Error(`Cannot run "${program}": ${cause.message}`, { cause })),
      );
      child.once('close', (code, signal) => {
        if (code === 0) resolve(stdout);
        else {
          const command = [program, ...args].join(' ').slice(0, 400);
          reject(
            new Error(`"${command}" ended with ${signal ?? `status ${code}`}: ${stderr.trim()}`),
          );
        }
      });
    });
  } finally {
    opened.forEach(closeSync);
  }
}
