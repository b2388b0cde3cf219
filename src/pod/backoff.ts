const FIRST_DELAY_MS = 10_000;
const MAX_DELAY_MS = 300_000;
/** A container that ran longer than this starts over with the shortest delay. */
const RESET_AFTER_MS = 600_000;

/**
 * Delays between restarts of one container: none before the first, then 10 s doubling to 300 s, each measured from the container's end.
 * @see contracts/kubernetes-semantics.md I23, I24
 */
export class RestartBackoff {
  #restarts = 0;

  /** Milliseconds to wait after the end of a container that had run for `ranMs`. */
  next(ranMs: number): number {
    if (ranMs > RESET_AFTER_MS) this.#restarts = 0;
    const delay =
      this.#restarts === 0
        ? 0
        : Math.min(FIRST_DELAY_MS * 2 ** Math.min(this.#restarts - 1, 10), MAX_DELAY_MS);
    this.#restarts += 1;
    return delay;
  }
}
