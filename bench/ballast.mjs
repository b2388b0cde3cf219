import { openFreshDisk } from './fresh-disk.mjs';
import { buildLimitProgram } from './limit/build.mjs';
import { LineProgram } from './line-program.mjs';

/** @import { Workload } from './contract.js' */
/** @import { UndoStack } from './undo-stack.mjs' */

/** What a run gets for each byte of blob and tar or tree, which it fills pages with: a quarter more for whatever is around them. */
const RUN_FACTOR = 1.25;
/** A step of the limit has blob and tar in memory of its own, and writes them once more. */
const STEP_FACTOR = 2;

/** Says that there is no ballast any more. Nobody who was to be measured has failed. */
export class BallastError extends Error {
  /** @param {string} reason */
  constructor(reason) {
    super(`The process that holds memory between the runs ended: ${reason}`);
    this.name = 'BallastError';
  }
}

/**
 * Another process that holds memory while nothing is measured, and lends it meanwhile. The host of a virtual machine takes back what is free for some
 * seconds, and the first touch afterwards costs far more than any later one. It holds as much as was ever asked for, and what is not asked for stays held.
 */
export class Ballast {
  #program;
  #bytes = 0;

  /**
   * @param {UndoStack} undo when it closes everything, `lend` and `hold` reject
   * @param {readonly [string, ...string[]]} [command]
   */
  constructor(undo, command = [buildLimitProgram(), 'ballast']) {
    this.#program = new LineProgram(undo, command);
  }

  get pid() {
    return this.#program.pid;
  }

  /**
   * From now on, others find so much memory that the machine has: not all of it free at once, but always more than they can use up until there is more.
   * @param {number} bytes
   */
  async lend(bytes) {
    this.#bytes = Math.max(this.#bytes, Math.ceil(bytes));
    await this.hold();
    await this.#ask(`lend ${Math.ceil(bytes)}`);
  }

  /** Takes again what was lent: best when the very memory has just become free. */
  async hold() {
    await this.#ask(`hold ${this.#bytes}`);
  }

  close() {
    return this.#program.close();
  }

  /** @param {string} line */
  async #ask(line) {
    const outcome = await this.#program.ask(line);
    if ('ending' in outcome) throw new BallastError(outcome.ending);
  }
}

/**
 * A fresh disk for something that is measured: when it is gone, the ballast takes the memory again that its files had.
 * @param {{ readonly undo: UndoStack, readonly ballast: Ballast }} options
 * @returns {Promise<{ readonly directory: string, readonly close: () => Promise<void> }>}
 */
export async function openMeasuredDisk({ undo, ballast }) {
  const { opened, close } = await undo.open(() => openFreshDisk());
  return {
    directory: opened.directory,
    close: async () => {
      try {
        await close();
      } finally {
        if (!undo.isClosing) await ballast.hold();
      }
    },
  };
}

/**
 * What is lent to a run of these workloads.
 * @param {readonly Workload[]} workloads
 */
export function runBytes(workloads) {
  return RUN_FACTOR * workloads.reduce((sum, workload) => sum + contentBytes(workload), 0);
}

/**
 * What is lent to a step of the limit.
 * @param {Workload} workload
 */
export function stepBytes(workload) {
  return STEP_FACTOR * contentBytes(workload);
}

/** @param {Workload} workload */
function contentBytes({ layers, tarBytes }) {
  return layers.reduce((sum, { blobBytes }) => sum + blobBytes, tarBytes);
}
