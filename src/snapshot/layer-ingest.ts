import { mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Config } from '../config.js';
import type { Digest } from '../digest.js';
import type { LayerForm, LayerJob, LayerResult, NativeBinding } from '../native.js';

/** How many pieces are taken from a source before other events have their turn. */
const WRITES_BETWEEN_TURNS = 64;

/** Where the compressed bytes of a layer come from. */
export type LayerSource =
  /** From a network: the bytes from `offset` to the end. The store iterates once, and calls `return()` when it wants no more. */
  | { readonly stream: (offset: number, signal: AbortSignal) => AsyncIterable<Uint8Array> }
  /** From an open file, read from its current offset to its end; stays the caller's, who keeps it open until the ingest settles. */
  | { readonly fd: number };

/** What one {@link runLayerJob} needs. */
export interface LayerJobRun {
  readonly native: Pick<NativeBinding, 'LayerJob'>;
  readonly config: Pick<Config, 'limits'>;
  readonly form: LayerForm;
  /** Absent or empty; made here. The layer comes to `layer` in it and the compressed bytes, if saved, to `blob`. */
  readonly directory: string;
  readonly saveBlob: boolean;
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly diffId: Digest;
  readonly source: LayerSource;
  readonly signal: AbortSignal;
  /** Compressed bytes taken so far, as they come from a stream. */
  readonly onProgress: (bytes: number) => void;
}

/**
 * Feeds one layer through the native pipeline. When it settles nothing touches the directory any more.
 * @throws NativeError with the codes of `LayerJob`, what the source throws, or the reason of `signal`.
 */
export async function runLayerJob(run: LayerJobRun): Promise<LayerResult> {
  run.signal.throwIfAborted();
  await mkdir(run.directory, { recursive: true, mode: 0o700 });
  const { limits } = run.config;
  let drained: (() => void) | undefined;
  const job = new run.native.LayerJob({
    form: run.form,
    directory: run.directory,
    saveBlob: run.saveBlob,
    expectedDigest: run.digest,
    expectedSizeBytes: run.sizeBytes,
    expectedDiffId: run.diffId,
    limits: {
      maxTarBytes: limits.layerTarBytes,
      maxEntries: limits.layerEntries,
      maxMetadataBytes: limits.layerMetadataBytes,
      reserveBytes: limits.diskReserveBytes,
    },
    onDrain: () => drained?.(),
  });
  // Ends the source when the caller gives up, and when the job has failed by itself.
  const ended = new AbortController();
  const abort = () => ended.abort(run.signal.reason);
  run.signal.addEventListener('abort', abort, { once: true });
  job.failed.catch((error) => ended.abort(error));
  let finished: Promise<LayerResult> | undefined;
  try {
    if ('fd' in run.source) {
      job.readFrom(run.source.fd);
    } else {
      await pump(job, {
        chunks: run.source.stream(0, ended.signal),
        signal: ended.signal,
        onProgress: run.onProgress,
        drain: () =>
          new Promise<void>((resolve) => {
            drained = resolve;
          }),
      });
    }
    const aborting = () => job.abort();
    run.signal.addEventListener('abort', aborting, { once: true });
    try {
      run.signal.throwIfAborted();
      finished = job.finish();
      return await finished;
    } finally {
      run.signal.removeEventListener('abort', aborting);
    }
  } catch (error) {
    // The failure of the job is the reason of what its source then says.
    const cause = ended.signal.aborted ? ended.signal.reason : error;
    job.abort();
    // Settles when its threads have left the directory.
    await (finished ?? job.finish()).catch(() => undefined);
    throw run.signal.aborted ? run.signal.reason : cause;
  } finally {
    run.signal.removeEventListener('abort', abort);
  }
}

async function pump(
  job: LayerJob,
  {
    chunks,
    signal,
    onProgress,
    drain,
  }: {
    readonly chunks: AsyncIterable<Uint8Array>;
    readonly signal: AbortSignal;
    readonly onProgress: (bytes: number) => void;
    readonly drain: () => Promise<void>;
  },
): Promise<void> {
  let received = 0;
  let writes = 0;
  const iterator = chunks[Symbol.asyncIterator]();
  try {
    for (;;) {
      // A source that ignores the signal must not keep a failed job waiting.
      const step = await untilAborted(iterator.next(), signal);
      if (step.done === true) return;
      const isRoom = job.write(step.value);
      received += step.value.byteLength;
      onProgress(received);
      if (!isRoom) await untilAborted(drain(), signal);
      // A source that always has bytes would otherwise keep the failure of the job from being heard.
      if (++writes % WRITES_BETWEEN_TURNS === 0) await nextTurn();
    }
  } catch (error) {
    // Closes the connection; it has nothing more to say, and may be waiting for its next byte.
    void iterator.return?.().catch(() => undefined);
    throw error;
  }
}

/**
 * Waits for `promise`, or throws the reason of `signal`. Not Promise.race with one promise for all rounds: that one would keep every chunk that ever won
 * against it, the whole layer.
 */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

/** Publishes what {@link runLayerJob} made: the blob first, so that a layer without its blob cannot come from a crash in between. */
export async function publishLayer(
  directory: string,
  { blobPath, layerPath }: { readonly blobPath?: string; readonly layerPath?: string },
): Promise<void> {
  if (blobPath !== undefined) {
    await mkdir(join(blobPath, '..'), { recursive: true, mode: 0o700 });
    await rename(join(directory, 'blob'), blobPath);
  }
  if (layerPath !== undefined) await rename(join(directory, 'layer'), layerPath);
}
