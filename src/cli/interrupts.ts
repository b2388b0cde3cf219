import { constants } from 'node:os';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
/** A process that was ended by signal N has this plus N as its exit code. */
const SIGNAL_EXIT_BASE = 128;

/** Turns the first SIGINT or SIGTERM into an orderly end and the second into a hard one. */
export class Interrupts {
  readonly #orderly = new AbortController();
  readonly #hard = new AbortController();
  #exitCode: number | undefined;

  constructor() {
    for (const signal of SIGNALS) process.on(signal, () => this.#receive(signal));
  }

  get signal(): AbortSignal {
    return this.#orderly.signal;
  }

  get killSignal(): AbortSignal {
    return this.#hard.signal;
  }

  /** Exit code of a program that a signal ended; undefined when none came. */
  get exitCode(): number | undefined {
    return this.#exitCode;
  }

  /** Begins the orderly end for another reason than a signal. */
  end(reason: unknown): void {
    this.#orderly.abort(reason);
  }

  #receive(signal: (typeof SIGNALS)[number]): void {
    this.#exitCode = SIGNAL_EXIT_BASE + constants.signals[signal];
    if (!this.#orderly.signal.aborted) this.#orderly.abort(new Error(`Interrupted by ${signal}`));
    else this.#hard.abort(new Error(`Interrupted again by ${signal}`));
  }
}
