import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import type { ProcessStreams } from '../process-streams.js';

/** How long a pipe may stay open after the process has ended, while its client reads: a child of the process may hold it. */
const DRAIN_TIMEOUT_MS = 2_000;
const DRAIN_TICK_MS = 50;

/** A stream of a client that has gone fails at its next use; that is no error of ours. */
export function ignoreErrors(streams: ProcessStreams): void {
  for (const stream of [streams.stdin, streams.stdout, streams.stderr]) {
    stream?.on('error', () => undefined);
  }
}

/** Ends what is written to a client, and what is read from it. Settles when the client has taken everything, or has gone. */
export async function endStreams(streams: ProcessStreams): Promise<void> {
  streams.stdin?.destroy();
  await Promise.all([flush(streams.stdout, streams.signal), flush(streams.stderr, streams.signal)]);
}

async function flush(stream: Writable | undefined, signal: AbortSignal): Promise<void> {
  if (stream === undefined || stream.writableFinished) return;
  if (signal.aborted || stream.destroyed) {
    stream.destroy();
    return;
  }
  let onAbort: () => void = () => undefined;
  await new Promise<void>((resolve) => {
    onAbort = () => resolve();
    signal.addEventListener('abort', onAbort, { once: true });
    stream.once('finish', onAbort).once('close', onAbort);
    stream.end();
  });
  signal.removeEventListener('abort', onAbort);
  if (signal.aborted) stream.destroy();
}

/** Copies a process's output to its client, at the client's pace. */
export class OutputCopy {
  readonly #source: Socket;
  readonly #target: Writable;
  readonly #ended: Promise<void>;

  constructor(source: Socket, target: Writable) {
    this.#source = source;
    this.#target = target;
    this.#ended = new Promise((resolve) => {
      source.once('close', resolve);
    });
    source.on('error', () => source.destroy());
    // Nobody reads any more: the process is told by EPIPE, as by any closed pipe.
    target.once('close', this.#stop).once('error', this.#stop);
    if (target.destroyed) this.#stop();
    else source.pipe(target, { end: false });
  }

  readonly #stop = () => {
    this.#source.destroy();
  };

  /** Settles at the end of the output, or once the client could have read for two seconds and nothing ended it. */
  async rest(): Promise<void> {
    let leftMs = DRAIN_TIMEOUT_MS;
    const timer = setInterval(() => {
      if (!this.#target.writableNeedDrain) leftMs -= DRAIN_TICK_MS;
      if (leftMs <= 0) this.#source.destroy();
    }, DRAIN_TICK_MS);
    await this.#ended;
    clearInterval(timer);
  }

  close(): void {
    this.#target.removeListener('close', this.#stop).removeListener('error', this.#stop);
    this.#source.unpipe(this.#target);
    this.#source.destroy();
  }
}
