import { spawn } from 'node:child_process';

/** @import { UndoStack } from './undo-stack.mjs' */

/**
 * Runs a program of this machine to its end and returns its standard output; killed when the benchmark is interrupted.
 * @param {readonly [string, ...string[]]} command
 * @param {UndoStack} undo
 * @throws Error with its standard error when it fails
 */
export async function runInterruptible(command, undo) {
  const { opened, close } = await undo.open(async () => startProgram(command));
  try {
    return await opened.output;
  } finally {
    await close();
  }
}

/** @param {readonly [string, ...string[]]} command */
function startProgram([program, ...args]) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  /** @type {Promise<string>} */
  const output = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) resolve(stdout);
      else {
        const reason = stderr.trim() || (signal ?? `status ${code}`);
        reject(new Error(`"${[program, ...args].join(' ')}" failed: ${reason}`));
      }
    });
  });
  // Nobody may be waiting when an interruption kills it.
  const ended = output.then(
    () => undefined,
    () => undefined,
  );
  const close = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  return { output, close };
}
