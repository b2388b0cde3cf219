import type { FileHandle } from 'node:fs/promises';
import type { Digest } from '../digest.js';
import { RuntimeError } from '../errors.js';
import type { BlobSink } from '../registry/blob-sink.js';
import { RegistryError } from '../registry/registry-error.js';
import { BlobError, type BlobStore } from './blob-store.js';
import type { ImageLayer } from './image-store.js';
import type { ProgressListener, PullPhase } from './pull-progress.js';

/** What images need of the layer store. */
export interface LayerCache {
  has(diffId: Digest): boolean;
  /** Stores layer and blob, unless both are stored; a blob that is there already is used when it is intact. */
  ingest(request: LayerIngest): Promise<unknown>;
  /** Begins to make a layer whose diff ID is not known yet: for the bytes of an ingest, or to be discarded. */
  begin(layer: Pick<LayerIngest, 'digest' | 'sizeBytes' | 'source'>): BegunLayer;
  /** Has a file brought to the disk in the background. */
  syncLater(path: string): void;
}

/** A layer that is being made already. An ingest that gets it discards it. */
export interface BegunLayer {
  /** Ends it and leaves nothing behind. */
  discard(): Promise<void>;
}

export interface LayerIngest {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly diffId: Digest;
  /** Where the verified compressed blob is published. */
  readonly blobPath: string;
  readonly source: LayerBytes;
  readonly signal: AbortSignal;
  readonly onProgress: (bytes: number) => void;
}

/** The compressed bytes of a layer, from their first one on; fetched only if they are needed, and once. */
export type LayerBytes =
  /** Pours them, until the end or until `signal` fires; unless `early` does. */
  | {
      readonly pour: (sink: BlobSink, signal: AbortSignal) => Promise<void>;
      readonly early?: BegunLayer | undefined;
    }
  /** Opens the file that holds them and nothing else; whoever opens it closes it. */
  | { readonly openFile: () => Promise<FileHandle> };

/** Where the bytes of each layer come from. */
export type LayerSource = (layer: ImageLayer) => LayerBytes | Promise<LayerBytes>;

/** A layer could not be fetched or unpacked; `code` is that of the cause. */
export class LayerError extends RuntimeError {
  readonly digest: Digest;

  constructor(digest: Digest, cause: unknown) {
    const code = cause instanceof RuntimeError ? cause.code : 'LAYER_FAILED';
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(code, `layer ${digest}: ${reason}`, { cause });
    this.digest = digest;
  }
}

export interface UnpackOptions {
  readonly blobs: BlobStore;
  readonly layers: LayerCache;
  readonly source: LayerSource;
  readonly signal: AbortSignal;
  readonly onProgress: ProgressListener;
}

const MAX_PARALLEL_LAYERS = 4;

/**
 * Makes every layer of an image, and its compressed blob, exist locally: several at a time, those present skipped. When one fails
 * the others are ended, and nothing runs any more when the promise settles.
 * @throws RegistryError, LayerError, which name the layer; the reason of `signal`.
 */
export async function unpackLayers(
  layers: readonly ImageLayer[],
  options: UnpackOptions,
): Promise<void> {
  // The same blob may be listed twice. Under two different diff IDs it is tried for both: one of them is a lie.
  const queue = [
    ...new Map(layers.map((layer) => [`${layer.digest} ${layer.diffId}`, layer])).values(),
  ];
  for (const { digest, sizeBytes } of queue) {
    options.onProgress({ digest, phase: 'waiting', bytes: 0, totalBytes: sizeBytes });
  }
  const failure = new AbortController();
  const signal = AbortSignal.any([options.signal, failure.signal]);
  const work = async () => {
    for (let layer = queue.shift(); layer !== undefined; layer = queue.shift()) {
      signal.throwIfAborted();
      await unpackLayer(layer, { ...options, signal });
    }
  };
  const stopOthers = (error: unknown) => {
    failure.abort(error);
    throw error;
  };
  const workers = Array.from({ length: MAX_PARALLEL_LAYERS }, () => work().catch(stopOthers));
  await Promise.allSettled(workers);
  options.signal.throwIfAborted();
  // The first failure is the cause; the others only followed it.
  if (failure.signal.aborted) throw failure.signal.reason;
}

async function unpackLayer(layer: ImageLayer, options: UnpackOptions): Promise<void> {
  const { digest, diffId, sizeBytes } = layer;
  const { blobs, layers, source, signal } = options;
  const report = (phase: PullPhase, bytes: number) =>
    options.onProgress({ digest, phase, bytes, totalBytes: sizeBytes });
  try {
    if (layers.has(diffId) && (await hasBlob(blobs, layer))) {
      report('exists', sizeBytes);
      return;
    }
    await layers.ingest({
      digest,
      sizeBytes,
      diffId,
      blobPath: blobs.path(digest),
      source: await source(layer),
      signal,
      onProgress: (bytes) => report(bytes < sizeBytes ? 'downloading' : 'extracting', bytes),
    });
    report('done', sizeBytes);
  } catch (error) {
    signal.throwIfAborted();
    // What the registry's client says names the layer already.
    throw error instanceof RegistryError ? error : new LayerError(digest, error);
  }
}

async function hasBlob(blobs: BlobStore, { digest, sizeBytes }: ImageLayer): Promise<boolean> {
  const found = await blobs.size(digest);
  if (found === undefined || found === sizeBytes) return found !== undefined;
  throw new BlobError(
    'SIZE_MISMATCH',
    `the manifest says ${sizeBytes} bytes, the blob has ${found}`,
  );
}
