import type { Duplex } from 'node:stream';
import { describeError, TimedOutError } from '../errors.js';
import type { ChannelStream } from './channel-stream.js';
import { finishOutput } from './process-session.js';

export interface ForwardOptions {
  readonly data: ChannelStream;
  /** Carries a text if something fails. */
  readonly error: ChannelStream;
  /** For the text: what is forwarded to. */
  readonly what: string;
  readonly connect: (signal: AbortSignal) => Promise<Duplex>;
  /** How long one direction may stay silent once the other has ended. */
  readonly lingerMs: number;
  /** How long dialling may take. */
  readonly dialMs: number;
}

/** Goes into one message. */
const MAX_MESSAGE_CHARACTERS = 4096;

/**
 * Forwards one connection: dials, copies both ways with their ends, tells a failure on the error stream. Neither failure nor
 * success touches the connection that carries the two streams; that clients close it themselves when they read a text on an
 * error stream is why none is written without need. Never throws; both streams are closed when it resolves.
 * @see contracts/streaming.md section 4
 */
export async function forwardConnection(options: ForwardOptions): Promise<void> {
  const { data, error, lingerMs } = options;
  error.resume();
  try {
    const peer = await dial(options);
    try {
      await joinStreams(data, peer, lingerMs);
    } catch (cause) {
      // A text would make the client give up all its connections (kubernetes#74551), and such an end is daily business.
      if (!isReset(cause)) throw cause;
    } finally {
      peer.destroy();
    }
  } catch (cause) {
    // The same goes for a connection that the client itself has given up while it was being made.
    if (error.writable && !data.destroyed) {
      const text = `error forwarding ${options.what}: ${describeError(cause)}`;
      error.write(text.slice(0, MAX_MESSAGE_CHARACTERS));
    }
  }
  // Input that nobody takes any more would stop the other streams of the connection.
  data.resume();
  await Promise.all([finishOutput(error), finishOutput(data)]);
  await Promise.all([closed(error, lingerMs), closed(data, lingerMs)]);
}

async function dial({ data, connect, dialMs }: ForwardOptions): Promise<Duplex> {
  const controller = new AbortController();
  const stop = () => controller.abort(new Error('the client has gone'));
  data.once('close', stop);
  const timer = setTimeout(
    () => controller.abort(new TimedOutError(`Cannot connect: no answer within ${dialMs} ms`)),
    dialMs,
  );
  try {
    const aborted = new Promise<never>((_, reject) => {
      const { signal } = controller;
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
    if (data.destroyed) stop();
    const dialled = connect(controller.signal);
    // A connection that comes too late is nobody's.
    dialled.then(
      (peer) => {
        if (controller.signal.aborted) peer.destroy();
      },
      () => undefined,
    );
    return await Promise.race([dialled, aborted]);
  } finally {
    clearTimeout(timer);
    data.off('close', stop);
  }
}

/**
 * Copies both ways until both have ended, or the client has reset its stream, or one side has been silent for `lingerMs` after the
 * other's end.
 * @throws What the peer's socket fails with.
 */
function joinStreams(data: ChannelStream, peer: Duplex, lingerMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let linger: NodeJS.Timeout | undefined;
    let isSettled = false;
    const settle = (cause?: Error | null) => {
      if (isSettled) return;
      isSettled = true;
      clearTimeout(linger);
      data.unpipe(peer);
      peer.unpipe(data);
      if (cause) reject(cause);
      else resolve();
    };
    const endOf = (from: Duplex, to: Duplex) => {
      from.once('end', () => {
        if (to.readableEnded) return;
        let moved = 0;
        const watch = () => {
          if (isSettled) return;
          linger = setTimeout(() => {
            const before = moved;
            // After a stall of this whole process the timer comes first, and what has arrived meanwhile right behind it.
            setImmediate(() => {
              // Silence counts only while nothing that has been read is still on its way to a slow reader.
              if (moved !== before || from.writableLength > 0) watch();
              else settle();
            });
          }, lingerMs);
        };
        to.on('data', () => {
          moved++;
          linger?.refresh();
        });
        watch();
      });
      to.once('finish', () => {
        if (from.writableFinished) settle();
      });
    };
    endOf(data, peer);
    endOf(peer, data);
    peer.on('error', settle);
    data.once('close', () => settle());
    peer.once('close', () => settle());
    data.pipe(peer);
    peer.pipe(data);
    if (data.destroyed) settle();
  });
}

/** Whether the pod has broken an established connection off. */
function isReset(cause: unknown): boolean {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  return code === 'ECONNRESET' || code === 'EPIPE';
}

/** Waits for the client's end of the stream, and resets it if that does not come. */
function closed(stream: ChannelStream, lingerMs: number): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed) return resolve();
    const timer = setTimeout(() => stream.destroy(), lingerMs);
    stream.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
