import { buildLimitProgram } from './limit/build.mjs';
import { LineProgram } from './line-program.mjs';

/** @import { Placement } from './contract.js' */
/** @import { UndoStack } from './undo-stack.mjs' */

/** What is measured is made again when the processors were not side by side in more than this share of the looks meanwhile. */
export const MAX_ODD_SHARE = 0.2;
/** So often at most, the first one included; of all, the one with the smallest share counts. */
export const MAX_ATTEMPTS = 4;
/**
 * And not when all attempts together, with everything around them, have taken as long as this, or when waiting and repeating have taken as long for
 * everything that was measured so far; less with --quick, which is to end soon.
 */
export const PATIENCE_SECONDS = {
  full: { each: 60, inAll: 1200 },
  quick: { each: 10, inAll: 150 },
};

/** How long a run of the benchmark may wait for processors in their place, and repeat what they were not in place for. */
export class Patience {
  /** For one thing that is measured. */
  eachSeconds;
  #leftSeconds;

  /** @param {{ readonly each: number, readonly inAll: number }} seconds */
  constructor({ each, inAll }) {
    this.eachSeconds = each;
    this.#leftSeconds = inAll;
  }

  get isOver() {
    return this.#leftSeconds <= 0;
  }

  /**
   * @template T
   * @param {() => Promise<T>} action
   */
  async spendOn(action) {
    const started = performance.now();
    try {
      return await action();
    } finally {
      this.#leftSeconds -= (performance.now() - started) / 1000;
    }
  }
}

/**
 * Another process that looks where the host of this virtual machine runs its two processors (`limit/placement.h`). Where it may not look, as without a
 * real-time priority or on another number of processors, it says so once, and nobody looks.
 */
export class PlacementWatch {
  patience;
  #program;
  #say;
  #isBlind = false;

  /**
   * @param {UndoStack} undo when it closes everything, `during` rejects
   * @param {{ readonly say: (message: string) => void, readonly patience: Patience }} options
   * @param {readonly [string, ...string[]]} [command]
   */
  constructor(undo, { say, patience }, command = [buildLimitProgram(), 'placement']) {
    this.patience = patience;
    this.#say = say;
    this.#program = new LineProgram(undo, command);
  }

  get pid() {
    return this.#program.pid;
  }

  /**
   * Waits until the processors have been side by side for a while, not for ever, and not without patience; then looks while something runs.
   * @template T
   * @param {() => Promise<T>} run
   * @param {() => Promise<void>} [beforehand] what is to be done right before, when the waiting is over
   * @returns {Promise<{ readonly value: T, readonly placement: Placement | undefined }>} undefined: nobody looked
   */
  async during(run, beforehand = async () => {}) {
    if (!this.patience.isOver) await this.patience.spendOn(() => this.#ask('settle'));
    await beforehand();
    await this.#ask('watch');
    const value = await run();
    return { value, placement: await this.#ask('stop') };
  }

  close() {
    return this.#program.close();
  }

  /** @param {string} line */
  async #ask(line) {
    if (this.#isBlind) return undefined;
    const outcome = await this.#program.ask(line);
    if ('answer' in outcome) return JSON.parse(outcome.answer);
    this.#isBlind = true;
    this.#say(`nobody looks where the processors are: ${outcome.ending}`);
    return undefined;
  }
}

/**
 * The share of looks in which the processors were far from each other or together on one core.
 * @param {Placement | undefined} placement
 */
export function oddShare(placement) {
  if (placement === undefined || placement.looks === 0) return 0;
  return (placement.far + placement.together) / placement.looks;
}

/**
 * Measures something, and again while the processors were not where they should be, whatever came out.
 * @template {{ readonly placement?: Placement | undefined }} T
 * @param {() => Promise<T>} measure
 * @param {Patience} patience
 * @returns {Promise<readonly [T, ...T[]]>} all attempts in their order
 */
export async function measureInPlace(measure, patience) {
  const end = performance.now() + patience.eachSeconds * 1000;
  /** @type {[T, ...T[]]} */
  const attempts = [await measure()];
  while (
    oddShare(best(attempts).placement) > MAX_ODD_SHARE &&
    attempts.length < MAX_ATTEMPTS &&
    performance.now() < end &&
    !patience.isOver
  ) {
    attempts.push(await patience.spendOn(measure));
  }
  return attempts;
}

/**
 * The attempt that counts.
 * @template {{ readonly placement?: Placement | undefined }} T
 * @param {readonly [T, ...T[]]} attempts
 * @returns {T}
 */
export function best(attempts) {
  return attempts.reduce((one, other) =>
    oddShare(other.placement) < oddShare(one.placement) ? other : one,
  );
}
