import { type Digest, digestHex } from '../digest.js';
import type { LayerResult } from '../native.js';
import type { LayerDurability } from './layer-durability.js';
import type { LayerFiles } from './layer-files.js';
import { type LayerJobRun, runLayerJob } from './layer-ingest.js';
import type { LayerLocks } from './layer-lock.js';

export interface EarlyIngestOptions
  extends Pick<LayerJobRun, 'native' | 'config' | 'form' | 'digest' | 'sizeBytes' | 'source'> {
  readonly files: LayerFiles;
  readonly locks: LayerLocks;
  readonly durability: Pick<LayerDurability, 'duringFetch'>;
}

/** What an early ingest has made: `layer` and `blob` in a directory that is its own until it is discarded. */
export interface EarlyResult {
  readonly directory: string;
  readonly result: LayerResult;
}

/**
 * The making of a layer that begins before its diff ID is known, which the config of the image tells: its bytes are on their way by then. A lock named
 * after the blob says that the directory is in use; when somebody else has it nothing begins, and the layer is made in the ordinary way. It ends,
 * and leaves nothing behind, by {@link discard} alone.
 */
export class EarlyIngest {
  readonly #directory: string;
  readonly #ended = new AbortController();
  readonly #diffId: Promise<Digest>;
  /** The job; undefined where nothing has begun. */
  readonly #made: Promise<LayerResult | undefined>;
  readonly #life: Promise<unknown>;
  #received = 0;
  #onProgress: (bytes: number) => void = () => undefined;
  #tellDiffId: (diffId: Digest) => void = () => undefined;
  #leave: () => void = () => undefined;

  constructor(options: EarlyIngestOptions) {
    const { files, locks, durability, digest } = options;
    const name = `early-${digestHex(digest)}`;
    this.#directory = files.ingest(name);
    this.#diffId = new Promise((resolve) => {
      this.#tellDiffId = resolve;
    });
    const left = new Promise<void>((resolve) => {
      this.#leave = resolve;
    });
    let settle: (made: Promise<LayerResult> | undefined) => void = () => undefined;
    this.#made = new Promise((resolve) => {
      settle = resolve;
    });
    // Whoever finishes it hears of a failure; perhaps nobody does.
    this.#made.catch(() => undefined);
    const live = async () => {
      try {
        await files.removeNow(this.#directory);
        settle(this.#run(options));
        await Promise.allSettled([this.#made, left]);
      } finally {
        await files.removeNow(this.#directory);
      }
    };
    this.#life = durability.duringFetch(() => locks.holdIfFree(name, live));
    // Without effect once it has begun.
    this.#life.then(
      () => settle(undefined),
      (error) => settle(Promise.reject(error)),
    );
  }

  /**
   * Compares what the layer unpacks to with its diff ID, when it is all there; undefined: nothing has begun. Once.
   * @throws what {@link runLayerJob} throws; the reason of `signal`.
   */
  async finish(
    diffId: Digest,
    {
      signal,
      onProgress,
    }: { readonly signal: AbortSignal; readonly onProgress: (bytes: number) => void },
  ): Promise<EarlyResult | undefined> {
    const abort = () => this.#ended.abort(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    try {
      this.#onProgress = onProgress;
      if (this.#received > 0) onProgress(this.#received);
      this.#tellDiffId(diffId);
      const result = await this.#made;
      return result && { directory: this.#directory, result };
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  /** Ends it, whatever has become of it, and removes what was not taken out of its directory. */
  async discard(): Promise<void> {
    this.#ended.abort(new Error('The layer is not needed'));
    this.#leave();
    await this.#life.catch(() => undefined);
  }

  #run({ native, config, form, digest, sizeBytes, source }: EarlyIngestOptions) {
    return runLayerJob({
      native,
      config,
      form,
      directory: this.#directory,
      saveBlob: true,
      digest,
      sizeBytes,
      diffId: this.#diffId,
      source,
      signal: this.#ended.signal,
      onProgress: (bytes) => {
        this.#received = bytes;
        this.#onProgress(bytes);
      },
    });
  }
}
