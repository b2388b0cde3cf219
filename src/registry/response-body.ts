import { finished } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { BlobSink } from './blob-sink.js';

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

/** A body that undici reads. */
export class UndiciBody implements ResponseBody {
  readonly #stream: Dispatcher.ResponseData['body'];

  constructor(stream: Dispatcher.ResponseData['body']) {
    // A fault before anybody reads it is told to whoever does.
    this.#stream = stream.on('error', () => undefined);
  }

  pour(sink: BlobSink): Promise<void> {
    const stream = this.#stream;
    return new Promise<void>((resolve, reject) => {
      const end = (error: unknown) => {
        reject(error);
        stream.destroy();
      };
      const take = (chunk: Buffer) => {
        try {
          if (sink.write(chunk)) return;
          stream.pause();
          sink.drained().then(() => stream.resume(), end);
        } catch (error) {
          end(error);
        }
      };
      // Of several reasons the first one counts.
      finished(stream, (error) => (error ? reject(error) : resolve()));
      stream.on('data', take);
    });
  }

  async discard(): Promise<void> {
    // What is thrown away cannot fail.
    await this.#stream.dump({ limit: MAX_DISCARDED_BYTES }).catch(() => undefined);
  }
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
