/**
 * Lets pulls go on one by one, each in a turn of its own of the event loop. Several that begin together come to the same places at the same time; what
 * they do there would be one long stretch in which nothing else in the process gets its turn.
 */
export class PullTurns {
  readonly #waiting: (() => void)[] = [];

  /** Settles when it is the caller's turn; first come, first served. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      if (this.#waiting.length === 1) setImmediate(this.#letOneGo);
    });
  }

  // An immediate that is made by another one belongs to the next turn of the loop.
  readonly #letOneGo = (): void => {
    if (this.#waiting.length > 1) setImmediate(this.#letOneGo);
    this.#waiting.shift()?.();
  };
}
