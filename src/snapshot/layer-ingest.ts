import { type FileHandle, mkdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { getSystemErrorMap } from 'node:util';
import type { Config } from '../config.js';
import type { Digest } from '../digest.js';
import type { LayerForm, LayerJob, LayerReception, LayerResult, NativeBinding } from '../native.js';
import type { BlobSink, PlainConnection, Reception } from '../registry/blob-sink.js';

/** Where the compressed bytes of a layer come from. */
export type LayerSource =
  /**
   * From a network: pours all of them, once, until the end or until `signal` fires; the sink throws from then on. Between pieces it lets other events have
   * their turn, as whoever reads from a socket or a file does.
   */
  | {
      readonly pour: (sink: BlobSink, signal: AbortSignal) => Promise<void>;
      /** An `EarlyIngest` that may have begun with that. Who ingests discards it. */
      readonly early?: { discard(): Promise<void> } | undefined;
    }
  /** From a file of its own, opened when it is needed and closed when the ingest, which several callers may share, is over. */
  | { readonly openFile: () => Promise<FileHandle> }
  /** From an open file, read from its current offset to its end; stays the caller's, who keeps it open until the ingest settles. */
  | { readonly fd: number };

/** How often it is told what a job that reads a connection itself has read. */
const PROGRESS_MS = 100;

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
  /** May come later than the bytes, unless they are in a file. */
  readonly diffId: Digest | Promise<Digest>;
  readonly source: LayerSource;
  readonly signal: AbortSignal;
  /** Compressed bytes taken so far; all of them at once when they are in a file. */
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
  const room = new Room();
  const job = new run.native.LayerJob({
    form: run.form,
    directory: run.directory,
    saveBlob: run.saveBlob,
    expectedDigest: run.digest,
    expectedSizeBytes: run.sizeBytes,
    expectedDiffId: typeof run.diffId === 'string' ? run.diffId : null,
    diffIdFollows: typeof run.diffId !== 'string',
    limits: {
      maxTarBytes: limits.layerTarBytes,
      maxEntries: limits.layerEntries,
      maxMetadataBytes: limits.layerMetadataBytes,
      reserveBytes: limits.diskReserveBytes,
    },
    onDrain: () => room.open(),
  });
  // Ends the source when the caller gives up, and when the job has failed by itself.
  const ended = new AbortController();
  const abort = () => ended.abort(run.signal.reason);
  run.signal.addEventListener('abort', abort, { once: true });
  job.failed.catch((error) => ended.abort(error));
  let finished: Promise<LayerResult> | undefined;
  let file: FileHandle | undefined;
  try {
    if ('pour' in run.source) {
      const sink = new JobSink(job, { room, signal: ended.signal, onProgress: run.onProgress });
      // A source that ignores the signal must not keep a failed job waiting.
      await untilAborted(run.source.pour(sink, ended.signal), ended.signal);
    } else {
      file = 'openFile' in run.source ? await run.source.openFile() : undefined;
      job.readFrom('fd' in run.source ? run.source.fd : (file as FileHandle).fd);
      run.onProgress(run.sizeBytes);
    }
    const diffId = await untilAborted(Promise.resolve(run.diffId), ended.signal);
    const aborting = () => job.abort();
    run.signal.addEventListener('abort', aborting, { once: true });
    try {
      run.signal.throwIfAborted();
      finished = job.finish(diffId);
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
    await file?.close();
  }
}

interface JobSinkOptions {
  readonly room: Room;
  readonly signal: AbortSignal;
  readonly onProgress: (bytes: number) => void;
}

/** Writes into a job, and throws once nothing more is wanted. */
class JobSink implements BlobSink {
  readonly #job: LayerJob;
  readonly #options: JobSinkOptions;
  #received = 0;

  constructor(job: LayerJob, options: JobSinkOptions) {
    this.#job = job;
    this.#options = options;
  }

  write(chunk: Uint8Array): boolean {
    const { room, signal, onProgress } = this.#options;
    signal.throwIfAborted();
    const isRoom = this.#job.write(chunk);
    if (!isRoom) room.close();
    this.#received += chunk.byteLength;
    onProgress(this.#received);
    return isRoom;
  }

  drained(): Promise<void> {
    const { room, signal } = this.#options;
    return untilAborted(room.opened, signal);
  }

  readonly receive = async ({ fd, bytes, idleTimeoutMs }: PlainConnection): Promise<Reception> => {
    const { signal, onProgress } = this.#options;
    signal.throwIfAborted();
    const before = this.#job.receivedBytes();
    const report = () => {
      const now = this.#job.receivedBytes() - before;
      if (now > 0) onProgress(this.#received + now);
    };
    const timer = setInterval(report, PROGRESS_MS);
    try {
      const reception = await this.#job.receive(fd, bytes, idleTimeoutMs);
      this.#received += reception.bytes;
      onProgress(this.#received);
      // Says why.
      if (reception.end === 'stopped') await this.#job.failed;
      return { bytes: reception.bytes, fault: faultOf(reception) };
    } finally {
      clearInterval(timer);
    }
  };
}

function faultOf({ end, errno }: LayerReception): Reception['fault'] {
  if (end !== 'failed') return end === 'closed' || end === 'idle' ? end : undefined;
  const [code, text] = getSystemErrorMap().get(-errno) ?? [`errno ${errno}`, 'unknown'];
  return Object.assign(new Error(`${text} (${code})`), { code });
}

/** Whether a job takes more bytes now. */
class Room {
  opened: Promise<void> = Promise.resolve();
  open: () => void = () => undefined;

  close(): void {
    this.opened = new Promise((resolve) => {
      this.open = resolve;
    });
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
    const blob = join(directory, 'blob');
    await rename(blob, blobPath).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      await mkdir(dirname(blobPath), { recursive: true, mode: 0o700 });
      await rename(blob, blobPath);
    });
  }
  if (layerPath !== undefined) await rename(join(directory, 'layer'), layerPath);
}
