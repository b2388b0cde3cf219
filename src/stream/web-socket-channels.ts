import type { RawData, WebSocket } from 'ws';
import { ChannelStream } from './channel-stream.js';
import { InboundGate } from './inbound-gate.js';
import type { StreamingLimits } from './streaming-limits.js';

export interface WebSocketChannelsOptions {
  /** Paused, and owned from now on. */
  readonly webSocket: WebSocket;
  /** Since version 5 a client can end a channel. */
  readonly version: number;
  /** Whether messages are text: the channel's digit and then base64. */
  readonly isBase64: boolean;
  readonly limits: StreamingLimits;
  /** The client is gone; called once, but not after `close`. */
  readonly onLost: () => void;
}

const END_OF_CHANNEL = 255;
const HALF_CLOSE_SINCE_VERSION = 5;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const DIGIT_ZERO = 0x30;

/** With the byte for the channel a message has 32 KiB, what Kubernetes' clients read at once. */
const MAX_PIECE_BYTES = 32 * 1024 - 1;

/** Answers to pings may wait for a client that does not read up to this size. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;

/** Close codes of RFC 6455 section 7.4.1. */
const CLOSE_NORMAL = 1000;
const CLOSE_INVALID_PAYLOAD = 1007;

/**
 * The channels of a WebSocket connection in Kubernetes' form: the first byte of each message names one of them.
 * @see contracts/streaming.md section 5.2
 */
export class WebSocketChannels {
  readonly #options: WebSocketChannelsOptions;
  readonly #webSocket: WebSocket;
  readonly #gate: InboundGate;
  readonly #channels = new Map<number, ChannelStream>();
  #isOpen = true;

  constructor(options: WebSocketChannelsOptions) {
    const { webSocket, limits } = options;
    this.#options = options;
    this.#webSocket = webSocket;
    this.#gate = new InboundGate(limits);
    // After an error the library closes the connection, and `close` says all there is to say.
    webSocket.on('error', () => undefined);
    webSocket.on('message', (message: RawData) => this.#receive(message));
    webSocket.on('ping', () => {
      if (webSocket.bufferedAmount > MAX_WAITING_BYTES) webSocket.terminate();
    });
    webSocket.once('close', () => this.#lose());
    if (webSocket.readyState === webSocket.CLOSED) queueMicrotask(() => this.#lose());
    webSocket.resume();
  }

  /** Opens a channel; messages for a channel that is not open are dropped. */
  open(number: number, options: { readonly drainOnLoss?: boolean } = {}): ChannelStream {
    const stream: ChannelStream = new ChannelStream({
      ...options,
      gate: this.#gate,
      outlet: {
        sendData: (payload, done) => this.#send(number, payload, done),
        // There is no message for it; and since a client cannot end its direction either, except for input, both end.
        sendEnd: (done) => {
          done();
          stream.receiveEnd();
        },
        released: () => this.#channels.delete(number),
      },
    });
    this.#channels.set(number, stream);
    return stream;
  }

  /** Sends a message without content, by which clients of old protocols know that the channels are there. */
  greet(number: number): void {
    this.#send(number, Buffer.alloc(0), () => undefined);
  }

  /** Closes in order once everything has been sent; resolves when the connection is closed, at the latest after the time for that. */
  async close(): Promise<void> {
    this.#isOpen = false;
    this.#releaseAll();
    await this.#sayGoodbye(CLOSE_NORMAL);
  }

  #receive(raw: RawData): void {
    if (!this.#isOpen || !Buffer.isBuffer(raw)) return;
    const message = this.#decode(raw);
    if (message === 'malformed') {
      void this.#sayGoodbye(CLOSE_INVALID_PAYLOAD);
      this.#lose();
      return;
    }
    if (message === undefined) return;
    const { number, payload } = message;
    if (number === END_OF_CHANNEL && this.#options.version >= HALF_CLOSE_SINCE_VERSION) {
      const ended = payload[0];
      if (ended !== undefined) this.#channels.get(ended)?.receiveEnd();
      return;
    }
    const stream = this.#channels.get(number);
    if (stream === undefined) return;
    stream.receive(payload);
    // The library hands on what it has read already when it is paused.
    if (this.#gate.isHeld) return;
    const wait = this.#gate.hold(stream);
    if (wait !== undefined) this.#holdUntil(wait);
  }

  #decode(raw: Buffer): { number: number; payload: Buffer } | 'malformed' | undefined {
    const first = raw[0];
    if (first === undefined) return undefined;
    if (!this.#options.isBase64) return { number: first, payload: raw.subarray(1) };
    const text = raw.toString('latin1', 1);
    if (first < DIGIT_ZERO || !BASE64.test(text)) return 'malformed';
    return { number: first - DIGIT_ZERO, payload: Buffer.from(text, 'base64') };
  }

  #holdUntil(wait: Promise<void>): void {
    this.#webSocket.pause();
    // A paused socket does not notice that the client has gone; a write does.
    const probe = setInterval(() => {
      if (this.#webSocket.readyState === this.#webSocket.OPEN) this.#webSocket.ping();
    }, this.#options.limits.probeMs);
    void wait.then(() => {
      clearInterval(probe);
      this.#webSocket.resume();
    });
  }

  #send(number: number, payload: Buffer, done: () => void): void {
    const webSocket = this.#webSocket;
    if (webSocket.readyState !== webSocket.OPEN) return;
    let offset = 0;
    do {
      const piece = payload.subarray(offset, offset + MAX_PIECE_BYTES);
      offset += piece.length;
      const sent = offset < payload.length ? () => undefined : () => done();
      webSocket.send(this.#encode(number, piece), { binary: !this.#options.isBase64 }, sent);
    } while (offset < payload.length);
  }

  #encode(number: number, piece: Buffer): Buffer {
    if (!this.#options.isBase64) return Buffer.concat([Buffer.from([number]), piece]);
    return Buffer.from(String.fromCharCode(DIGIT_ZERO + number) + piece.toString('base64'));
  }

  #sayGoodbye(code: number): Promise<void> {
    const webSocket = this.#webSocket;
    return new Promise((resolve) => {
      if (webSocket.readyState === webSocket.CLOSED) {
        resolve();
        return;
      }
      const timer = setTimeout(() => webSocket.terminate(), this.#options.limits.goodbyeMs);
      webSocket.once('close', () => {
        clearTimeout(timer);
        resolve();
      });
      webSocket.close(code);
      webSocket.resume();
    });
  }

  #lose(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#releaseAll();
    this.#options.onLost();
  }

  #releaseAll(): void {
    const streams = [...this.#channels.values()];
    this.#channels.clear();
    for (const stream of streams) stream.lose();
    this.#gate.release();
  }
}
