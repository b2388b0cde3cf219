import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { InterruptedError } from './undo-stack.mjs';

/** @import { UndoStack } from './undo-stack.mjs' */

/** Another process that does what the lines of its input say, and answers each with a line. */
export class LineProgram {
  #undo;
  #child;
  #lines;
  /** @type {Promise<string>} how it ended */
  #closed;
  #stderr = '';

  /**
   * @param {UndoStack} undo when it closes everything, `ask` rejects
   * @param {readonly [string, ...string[]]} command
   */
  constructor(undo, [program, ...args]) {
    this.#undo = undo;
    // In a session of its own, so that an interrupt from the terminal reaches the benchmark alone. However that ends, the input here then does.
    this.#child = spawn(program, args, { stdio: 'pipe', detached: true });
    this.#closed = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => resolve(signal ?? `status ${code}`));
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
    this.#child.stderr.setEncoding('utf8').on('data', (text) => {
      this.#stderr += text;
    });
    this.#child.on('error', ({ message }) => {
      this.#stderr += message;
    });
    // Writing to a process that has ended is noticed by whoever waits for its answer.
    this.#child.stdin.on('error', () => {});
  }

  get pid() {
    return this.#child.pid;
  }

  /**
   * @param {string} line
   * @returns {Promise<{ readonly answer: string } | { readonly ending: string }>} `ending`: it has ended without an answer, and what it said about that
   */
  async ask(line) {
    if (this.#undo.isClosing) throw new InterruptedError();
    this.#child.stdin.write(`${line}\n`);
    const { done, value } = await this.#lines.next();
    // Nothing may begin to run that nobody would end any more.
    if (this.#undo.isClosing) throw new InterruptedError();
    if (!done) return { answer: value };
    const ending = await this.#closed;
    return { ending: this.#stderr.trim() || ending };
  }

  async close() {
    this.#child.kill('SIGKILL');
    await this.#closed;
  }
}
