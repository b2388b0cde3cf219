import type { Digest } from '../digest.js';

/** `exists`: nothing to do; `extracting`: all bytes are there, the layer is being finished. */
export type PullPhase = 'waiting' | 'downloading' | 'extracting' | 'done' | 'exists';

/** State of one layer of an image that is being pulled or loaded. */
export interface PullProgress {
  /** Of the compressed layer. */
  readonly digest: Digest;
  readonly phase: PullPhase;
  /** Compressed bytes so far. */
  readonly bytes: number;
  readonly totalBytes: number;
}

export type ProgressListener = (progress: PullProgress) => void;

/** Spreads the progress of one shared pull to all who wait for it; whoever comes later first hears the present state. */
export class ProgressHub {
  readonly #states = new Map<Digest, PullProgress>();
  readonly #listeners = new Set<ProgressListener>();

  subscribe(listener: ProgressListener): () => void {
    for (const state of this.#states.values()) listener(state);
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  report(progress: PullProgress): void {
    this.#states.set(progress.digest, progress);
    for (const listener of this.#listeners) listener(progress);
  }
}
