import type { IncomingMessage } from 'node:http';
import { finished } from 'node:stream';
import type { BlobSink } from './blob-sink.js';
import { ConnectionFault, idleFault } from './connection-fault.js';

/** The body of an answer. Its reader either pours it, once, or discards it: the connection is in use until then. */
export interface ResponseBody {
  /**
   * Gives every byte to `sink`. Rejects when the connection breaks, when it brings fewer bytes than announced, when the signal of the request fires,
   * and with what `sink` throws; the connection is closed then.
   */
  pour(sink: BlobSink): Promise<void>;
  /** Ends a body that nobody wants. A short one is read so that the connection can be used again. Nothing after {@link pour}. */
  discard(): Promise<void>;
}

/** What is read of an unwanted body for the sake of its connection. */
const MAX_DISCARDED_BYTES = 64 * 1024;

export interface StreamBodyOptions {
  /** Longest wait for the next byte, while there is room for it. */
  readonly idleTimeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/** A body that node's HTTP client reads. */
export class StreamBody implements ResponseBody {
  readonly #stream: IncomingMessage;
  readonly #options: StreamBodyOptions;

  constructor(stream: IncomingMessage, options: StreamBodyOptions) {
    const { signal } = options;
    const abort = () => stream.destroy();
    signal?.addEventListener('abort', abort, { once: true });
    this.#stream = stream
      // A fault before anybody reads it is told to whoever does.
      .on('error', () => undefined)
      .once('close', () => signal?.removeEventListener('abort', abort));
    this.#options = options;
  }

  pour(sink: BlobSink): Promise<void> {
    const stream = this.#stream;
    const { idleTimeoutMs, signal } = this.#options;
    return new Promise<void>((resolve, reject) => {
      // Of several reasons the first one counts.
      const end = (error: unknown) => {
        reject(error);
        stream.destroy();
      };
      const wait = () => setTimeout(() => end(idleFault(idleTimeoutMs)), idleTimeoutMs);
      let timer = wait();
      const resume = () => {
        // It has broken meanwhile.
        if (stream.destroyed) return;
        timer = wait();
        stream.resume();
      };
      const take = (chunk: Buffer) => {
        timer.refresh();
        try {
          if (sink.write(chunk)) return;
          // A sink that takes its time is no idle connection.
          clearTimeout(timer);
          stream.pause();
          sink.drained().then(resume, end);
        } catch (error) {
          end(error);
        }
      };
      finished(stream, (error) => {
        clearTimeout(timer);
        if (signal?.aborted) reject(signal.reason);
        else if (error?.code === 'ECONNRESET') reject(earlyEnd());
        else if (error) reject(error);
        else resolve();
      });
      stream.on('data', take);
    });
  }

  async discard(): Promise<void> {
    let left = MAX_DISCARDED_BYTES;
    const write = ({ byteLength }: Uint8Array) => {
      left -= byteLength;
      if (left < 0) throw new Error('the rest is not worth its connection');
      return true;
    };
    // What is thrown away cannot fail.
    await this.pour({ write, drained: async () => undefined }).catch(() => undefined);
  }
}

/** What node calls "aborted". */
function earlyEnd(): ConnectionFault {
  return new ConnectionFault('ECONNRESET', 'the connection was closed before the end of the body');
}

/** Reads at most `maxBytes` of a body and ends it. `isComplete` is false when there was more. */
export async function readBounded(
  body: ResponseBody,
  maxBytes: number,
): Promise<{ readonly bytes: Buffer; readonly isComplete: boolean }> {
  const chunks: Buffer[] = [];
  const tooMuch = new Error('the body is too large');
  let length = 0;
  const write = (chunk: Uint8Array) => {
    length += chunk.byteLength;
    if (length > maxBytes) throw tooMuch;
    chunks.push(Buffer.from(chunk));
    return true;
  };
  try {
    await body.pour({ write, drained: async () => undefined });
  } catch (error) {
    if (error !== tooMuch) throw error;
  }
  return { bytes: Buffer.concat(chunks), isComplete: length <= maxBytes };
}
