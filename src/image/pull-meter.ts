import type { Digest } from '../digest.js';
import type { PullProgress } from './pull-progress.js';

/** Counts the compressed bytes that one pull really fetches: layers that are there already have none. */
export class PullMeter {
  readonly #bytes = new Map<Digest, number>();
  readonly #onBytes: (bytes: number) => void;

  constructor(onBytes: (bytes: number) => void) {
    this.#onBytes = onBytes;
  }

  report({ digest, phase, bytes }: PullProgress): void {
    const before = this.#bytes.get(digest);
    // A layer that was never seen on its way was not fetched by us.
    if (phase !== 'downloading' && before === undefined) return;
    const more = bytes - (before ?? 0);
    if (before === undefined || more > 0) this.#bytes.set(digest, bytes);
    if (more > 0) this.#onBytes(more);
  }
}
