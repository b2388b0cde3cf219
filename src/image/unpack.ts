import type { Digest } from '../digest.js';
import { RuntimeError } from '../errors.js';
import { BlobError, type BlobStore } from './blob-store.js';
import type { ImageLayer } from './image-store.js';
import type { ProgressListener } from './pull-progress.js';

/** What images need of the layer store. */
export interface LayerCache {
  has(diffId: Digest): boolean;
  ingest(request: LayerIngest): Promise<unknown>;
}

export interface LayerIngest {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly diffId: Digest;
  /** Where the verified compressed blob is published. */
  readonly blobPath: string;
  readonly source: { stream(offsetBytes: number): AsyncIterable<Uint8Array> };
  readonly signal: AbortSignal;
  readonly onProgress: (bytes: number) => void;
}

/** Opens the compressed bytes of a layer from an offset on. */
export type LayerSource = (
  layer: ImageLayer,
  options: { readonly offsetBytes: number; readonly signal: AbortSignal },
) => AsyncIterable<Uint8Array>;

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
 * @throws LayerError naming the layer; the reason of `signal`.
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
  const report = (phase: 'downloading' | 'extracting' | 'done' | 'exists', bytes: number) =>
    options.onProgress({ digest, phase, bytes, totalBytes: sizeBytes });
  const onProgress = (bytes: number) =>
    report(bytes < sizeBytes ? 'downloading' : 'extracting', bytes);
  try {
    const hadLayer = layers.has(diffId);
    if (!hadLayer) {
      const ingest = (stream: (offsetBytes: number) => AsyncIterable<Uint8Array>) =>
        layers.ingest({
          digest,
          sizeBytes,
          diffId,
          blobPath: blobs.path(digest),
          source: { stream },
          signal,
          onProgress,
        });
      const fetch = () => ingest((offsetBytes) => source(layer, { offsetBytes, signal }));
      if (await hasBlob(blobs, layer)) {
        await ingest((offsetBytes) => blobs.stream(digest, offsetBytes)).catch(async (error) => {
          if (!isDamage(error)) throw error;
          await blobs.remove(digest);
          await fetch();
        });
      } else await fetch();
    }
    // The layer may have come from a blob with other compression; the layout must have this one too.
    const hadBlob = await hasBlob(blobs, layer);
    if (!hadBlob) {
      await blobs.writeStream(layer, {
        chunks: source(layer, { offsetBytes: 0, signal }),
        onProgress,
      });
    }
    report(hadLayer && hadBlob ? 'exists' : 'done', sizeBytes);
  } catch (error) {
    signal.throwIfAborted();
    throw new LayerError(digest, error);
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

/** Whether a local blob is no longer what its name says (a power cut, a bad disk), so that fetching it again helps. */
function isDamage(error: unknown): boolean {
  return (
    error instanceof RuntimeError &&
    ['DIGEST_MISMATCH', 'SIZE_MISMATCH', 'TRUNCATED'].includes(error.code)
  );
}
