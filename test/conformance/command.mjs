import { spawn } from 'node:child_process';

/** What a program may print before the rest is dropped. */
const OUTPUT_MAX_BYTES = 64 * 2 ** 20;

/**
 * @typedef {object} CommandOptions
 * @property {string} [cwd]
 * @property {NodeJS.ProcessEnv} [env]
 * @property {string | Buffer} [input] its standard input; empty by default
 * @property {number} [timeoutMs] after which it is killed; 600 s by default
 * @property {boolean} [mayFail] returns the result of a failed command as well
 *
 * @typedef {object} CommandResult
 * @property {number} exitCode 128 + N after signal N
 * @property {string} stdout
 * @property {string} stderr
 */

const SIGNAL_NUMBERS = /** @type {Readonly<Record<string, number>>} */ ({
  SIGKILL: 9,
  SIGTERM: 15,
});

/**
 * Runs a program to its end.
 * @param {readonly string[]} command
 * @param {CommandOptions} [options]
 * @returns {Promise<CommandResult>}
 * @throws Error with the end of what it printed, if it cannot be started, fails or takes too long
 */
export async function runCommand(command, options = {}) {
  const { cwd, env, input = '', timeoutMs = 600_000, mayFail = false } = options;
  const [program = '', ...args] = command;
  const child = spawn(program, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(cwd === undefined ? {} : { cwd }),
    ...(env === undefined ? {} : { env }),
  });
  child.stdin.on('error', () => {}); // It may end without reading its input.
  child.stdin.end(input);
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  let isTimedOut = false;
  const timer = setTimeout(() => {
    isTimedOut = true;
    child.kill('SIGKILL');
  }, timeoutMs);
  try {
    const exitCode = await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) =>
        resolve(code ?? 128 + (SIGNAL_NUMBERS[signal ?? ''] ?? 0)),
      );
    });
    const result = { exitCode, stdout: stdout(), stderr: stderr() };
    if (isTimedOut || (exitCode !== 0 && !mayFail)) {
      const how = isTimedOut
        ? `did not end within ${timeoutMs / 1000} s`
        : `ended with ${exitCode}`;
      throw new Error(
        `"${command.join(' ')}" ${how}:\n${`${result.stdout}\n${result.stderr}`.slice(-4000)}`,
      );
    }
    return result;
  } finally {
    clearTimeout(timer);
  }
}

/** @param {import('node:stream').Readable} stream */
function collect(stream) {
  /** @type {Buffer[]} */
  const chunks = [];
  let bytes = 0;
  stream.on('data', (/** @type {Buffer} */ chunk) => {
    bytes += chunk.length;
    if (bytes <= OUTPUT_MAX_BYTES) chunks.push(chunk);
  });
  return () => Buffer.concat(chunks).toString();
}
