import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

const LOG_MAX_CHARS = 4 * 2 ** 20;

/**
 * A program that runs beside the test.
 * @typedef {object} Program
 * @property {() => string} log the end of what it printed, both streams
 * @property {(pattern: RegExp, timeoutMs: number) => Promise<void>} until waits for what it prints
 * @property {(text: string) => void} write to its standard input
 * @property {() => void} endInput
 * @property {(signal: NodeJS.Signals) => void} kill sends a signal to the program itself
 * @property {Promise<number>} exited its exit code, 128 + 9 after SIGKILL
 * @property {() => number} pid the program itself, seen from outside of the namespaces
 * @property {(options?: { readonly timeoutMs?: number }) => Promise<void>} stop SIGTERM, then SIGKILL after 20 s; stopping twice is fine
 */

/**
 * @param {readonly string[]} command
 * @param {object} options
 * @param {NodeJS.ProcessEnv} options.env
 * @param {boolean} [options.isEntered] the command is nsenter, whose only child is the program
 * @returns {Program}
 */
export function startProgram(command, { env, isEntered = false }) {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env, cwd: '/' });
  child.stdin.on('error', () => {}); // It may end without reading its input.
  let log = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (/** @type {Buffer} */ chunk) => {
      log = (log + chunk.toString()).slice(-LOG_MAX_CHARS);
      child.emit('printed');
    });
  }
  let hasEnded = false;
  const exited = new Promise((/** @type {(code: number) => void} */ resolve) => {
    child.once('error', (error) => {
      log += String(error);
      resolve(127);
    });
    child.once('exit', (code, signal) => resolve(code ?? (signal === 'SIGKILL' ? 137 : 143)));
  }).finally(() => {
    hasEnded = true;
    child.emit('printed');
  });
  const pid = () => {
    const own = /** @type {number} */ (child.pid);
    if (!isEntered) return own;
    const text = readFileSync(`/proc/${own}/task/${own}/children`, 'utf8');
    return Number(text.trim().split(' ')[0]) || own;
  };
  /** @param {NodeJS.Signals} signal */
  const kill = (signal) => {
    if (hasEnded) return;
    try {
      process.kill(pid(), signal);
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  };
  return {
    exited,
    pid,
    kill,
    log: () => log,
    write: (text) => void child.stdin.write(text),
    endInput: () => void child.stdin.end(),
    async until(pattern, timeoutMs) {
      const signal = AbortSignal.timeout(timeoutMs);
      while (!pattern.test(log)) {
        if (hasEnded) throw new Error(`"${command.join(' ')}" ended; it printed:\n${log}`);
        try {
          await once(child, 'printed', { signal });
        } catch (error) {
          throw new Error(`"${command.join(' ')}" did not print ${pattern}, but:\n${log}`, {
            cause: error,
          });
        }
      }
    },
    async stop({ timeoutMs = 20_000 } = {}) {
      kill('SIGTERM');
      const timer = setTimeout(() => kill('SIGKILL'), timeoutMs);
      await exited;
      clearTimeout(timer);
    },
  };
}

/** @param {unknown} error */
function isGone(error) {
  const { code } = /** @type {NodeJS.ErrnoException} */ (error);
  return code === 'ESRCH' || code === 'ENOENT';
}
