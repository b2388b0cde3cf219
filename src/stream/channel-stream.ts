import { Duplex } from 'node:stream';
import type { InboundGate } from './inbound-gate.js';

/** The connection's end of a {@link ChannelStream}. */
export interface ChannelOutlet {
  /** Sends bytes; calls `done` when the connection has room for more, or never if the connection is lost. */
  sendData(payload: Buffer, done: () => void): void;
  /** Says that no more will be sent. */
  sendEnd(done: () => void): void;
  /** The stream is gone; `complete` if both directions had ended, else the other side still has to be told. */
  released(complete: boolean): void;
}

export interface ChannelStreamOptions {
  readonly outlet: ChannelOutlet;
  readonly gate: InboundGate;
  /** Whether what has come may still be read to its end when the connection is lost; else the loss destroys the stream. */
  readonly drainOnLoss?: boolean;
}

/** Each waiting piece counts for so much at least: a flood of pieces of one byte costs objects, not bytes. */
const MIN_CHARGE_BYTES = 512;

/** A smaller piece is copied, since it would otherwise hold on to the 64 KiB that the socket was read into. */
const COPY_BELOW_BYTES = 16 * 1024;

/** Waiting pieces are joined up to about this size before they are handed on. */
const JOINED_BYTES = 64 * 1024;

/**
 * One stream of several on a connection, both directions, each with an end of its own. Destroying it resets it on the wire; it is
 * destroyed without an error when the client resets it, so that `close` without `end` or `finish` is all there is to see.
 */
export class ChannelStream extends Duplex {
  readonly #outlet: ChannelOutlet;
  readonly #gate: InboundGate;
  readonly #drainOnLoss: boolean;
  #inbox: Buffer[] = [];
  #waitingBytes = 0;
  #isWanted = false;
  #hasEnded = false;
  #endPushed = false;
  #isLost = false;

  constructor({ outlet, gate, drainOnLoss = false }: ChannelStreamOptions) {
    super({
      allowHalfOpen: true,
      decodeStrings: true,
      readableHighWaterMark: 16 * 1024,
      writableHighWaterMark: 16 * 1024,
    });
    this.#outlet = outlet;
    this.#gate = gate;
    this.#drainOnLoss = drainOnLoss;
  }

  /** What has come and was not read yet, small pieces charged with more than their size. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** The connection's: delivers a piece; what comes after the end or after the stream is gone is dropped. */
  receive(payload: Buffer): void {
    if (this.destroyed || this.#hasEnded || payload.length === 0) return;
    this.#inbox.push(payload.length < COPY_BELOW_BYTES ? Buffer.from(payload) : payload);
    this.#charge(chargeOf(payload));
    this.#flow();
  }

  /** The connection's: the client sends no more. */
  receiveEnd(): void {
    if (this.destroyed || this.#hasEnded) return;
    this.#hasEnded = true;
    this.#flow();
  }

  /** The connection's: the client, or its interest in this stream, is gone. */
  lose(): void {
    if (this.#isLost) return;
    this.#isLost = true;
    if (!this.#drainOnLoss) {
      this.destroy();
      return;
    }
    this.receiveEnd();
    // Nobody writes to a stream that is only input; ending that side lets the stream close by itself once it has been read.
    this.end();
  }

  override _read(): void {
    this.#isWanted = true;
    this.#flow();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#outlet.sendData(chunk, done);
  }

  override _final(done: () => void): void {
    if (this.#isLost) done();
    else this.#outlet.sendEnd(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#inbox = [];
    this.#charge(-this.#waitingBytes);
    this.#outlet.released(this.#isLost || (this.#hasEnded && this.writableFinished));
    done(error);
  }

  #flow(): void {
    if (!this.#isWanted) return;
    if (this.#inbox.length > 0) {
      this.#isWanted = false;
      this.push(this.#take());
    } else if (this.#hasEnded && !this.#endPushed) {
      this.#endPushed = true;
      this.push(null);
    }
  }

  #take(): Buffer {
    let count = 0;
    let bytes = 0;
    let charge = 0;
    for (const piece of this.#inbox) {
      if (count > 0 && bytes + piece.length > JOINED_BYTES) break;
      count++;
      bytes += piece.length;
      charge += chargeOf(piece);
    }
    const pieces = this.#inbox.splice(0, count);
    this.#charge(-charge);
    return pieces.length === 1 && pieces[0] !== undefined
      ? pieces[0]
      : Buffer.concat(pieces, bytes);
  }

  #charge(deltaBytes: number): void {
    if (deltaBytes === 0) return;
    this.#waitingBytes += deltaBytes;
    this.#gate.account(deltaBytes);
  }
}

function chargeOf(piece: Buffer): number {
  return Math.max(piece.length, MIN_CHARGE_BYTES);
}
