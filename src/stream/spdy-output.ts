import type { Duplex } from 'node:stream';
import { encodeDataHead, SPDY_FLAG_FIN } from './spdy-frames.js';

/** Frames that we send are no larger, as those of Kubernetes' own servers. */
const MAX_SENT_BYTES = 32 * 1024;

/** Answers may wait for a client that does not read up to this size; then it is not listened to either. */
const MAX_WAITING_BYTES = 256 * 1024;

/** Writes the frames of all streams of a connection, each whole, and lets the streams wait in turn while the socket is full. */
export class SpdyOutput {
  readonly #transport: Duplex;
  #waiting: (() => void)[] = [];
  #isClosed = false;

  constructor(transport: Duplex) {
    this.#transport = transport;
    transport.on('drain', () => this.#wake());
  }

  /** Sends a control frame. */
  send(frame: Buffer): void {
    if (this.#transport.writable) this.#transport.write(frame);
  }

  /** Sends bytes of a stream; `done` is called when there is room for more. */
  sendData(
    streamId: number,
    { payload, done }: { readonly payload: Buffer; readonly done: () => void },
  ): void {
    if (!this.#transport.writable) return;
    this.#transport.cork();
    for (let offset = 0; offset < payload.length; offset += MAX_SENT_BYTES) {
      const piece = payload.subarray(offset, offset + MAX_SENT_BYTES);
      this.#transport.write(encodeDataHead(streamId, 0, piece.length));
      this.#transport.write(piece);
    }
    this.#transport.uncork();
    this.#whenReady(done);
  }

  /** Says that a stream sends no more. */
  sendEnd(streamId: number, done: () => void): void {
    this.send(encodeDataHead(streamId, SPDY_FLAG_FIN, 0));
    this.#whenReady(done);
  }

  /** Undefined, or if a lot waits for the client, a promise for the time when that has been sent. */
  whenShort(): Promise<void> | undefined {
    if (this.#isClosed || this.#transport.writableLength <= MAX_WAITING_BYTES) return undefined;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** The streams are gone: nobody waits any longer. */
  close(): void {
    this.#isClosed = true;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const done of waiting) done();
  }

  #whenReady(done: () => void): void {
    if (this.#isClosed || !this.#transport.writableNeedDrain) done();
    else this.#waiting.push(done);
  }

  #wake(): void {
    // Each may write, which can fill the socket again; those behind it keep their turn.
    while (this.#waiting.length > 0 && !this.#transport.writableNeedDrain) {
      this.#waiting.shift()?.();
    }
  }
}
