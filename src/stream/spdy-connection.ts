import type { Duplex } from 'node:stream';
import { ChannelStream } from './channel-stream.js';
import { closeGently } from './gentle-close.js';
import { InboundGate } from './inbound-gate.js';
import { type SpdyData, type SpdyFrame, SpdyFrameParser } from './spdy-frame-parser.js';
import {
  encodeControlFrame,
  SPDY_GOAWAY,
  SPDY_GOAWAY_OK,
  SPDY_GOAWAY_PROTOCOL_ERROR,
  SPDY_PING,
  SPDY_RST_CANCEL,
  SPDY_RST_PROTOCOL_ERROR,
  SPDY_RST_REFUSED,
  SPDY_RST_STREAM,
  SPDY_SYN_REPLY,
  type SpdyControlFrame,
} from './spdy-frames.js';
import { decodeHeaderBlock, type SpdyHeaders } from './spdy-header-block.js';
import { SpdyHeaderDeflater } from './spdy-header-deflater.js';
import { SpdyHeaderInflater } from './spdy-header-inflater.js';
import { SpdyOutput } from './spdy-output.js';
import type { StreamingLimits } from './streaming-limits.js';

/** A stream that the client wants to open; it is refused unless it is accepted before the handler returns. */
export interface IncomingStream {
  readonly id: number;
  readonly headers: SpdyHeaders;
  /** Opens the stream; with `drainOnLoss` what the client has sent can be read even when the client is gone. */
  accept(options?: { readonly drainOnLoss?: boolean }): ChannelStream;
}

export interface SpdyConnectionOptions {
  /** Bytes after the upgrade; the connection owns it from now on. */
  readonly transport: Duplex;
  /** What came together with the upgrade and belongs to SPDY already. */
  readonly head: Buffer;
  readonly limits: StreamingLimits;
  readonly onStream: (incoming: IncomingStream) => void;
  /** The client is gone, or was sent away for breaking the protocol; called once, but not after `close` or `destroy`. */
  readonly onLost: () => void;
}

/**
 * The server's end of a SPDY/3.1 connection as Kubernetes' clients speak it: only the client opens streams, and there is no flow
 * control but TCP's, so windows and settings are ignored. Frames are handled strictly in the order of arrival.
 * @see contracts/streaming.md section 2
 */
export class SpdyConnection {
  readonly #options: SpdyConnectionOptions;
  readonly #transport: Duplex;
  readonly #output: SpdyOutput;
  readonly #parser = new SpdyFrameParser();
  readonly #deflater = new SpdyHeaderDeflater();
  readonly #gate: InboundGate;
  readonly #streams = new Map<number, ChannelStream>();
  #inflater: SpdyHeaderInflater | undefined;
  #lastStreamId = 0;
  #isHeld = false;
  #isOpen = true;
  #pingId = 0;

  constructor(options: SpdyConnectionOptions) {
    const { transport, head, limits } = options;
    this.#options = options;
    this.#transport = transport;
    this.#output = new SpdyOutput(transport);
    this.#gate = new InboundGate(limits);
    // The connection may be lost while it is made; then `close` comes and says all there is to say.
    transport.on('error', () => undefined);
    transport.on('data', (chunk: Buffer) => this.#receive(chunk));
    transport.once('end', () => this.#lose());
    transport.once('close', () => this.#lose());
    if (head.length > 0) transport.unshift(head);
    if (transport.destroyed) queueMicrotask(() => this.#lose());
  }

  /** Resets what is still open, says goodbye, and resolves when the connection is closed, at the latest after the time for that. */
  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (const [id, stream] of this.#streams) {
      if (!stream.writableEnded) this.#reset(id, SPDY_RST_CANCEL);
    }
    this.#output.send(
      encodeControlFrame(SPDY_GOAWAY, { numbers: [this.#lastStreamId, SPDY_GOAWAY_OK] }),
    );
    this.#releaseAll();
    await closeGently(this.#transport, this.#options.limits.goodbyeMs);
  }

  /** Closes at once; streams see it as a loss. */
  destroy(): void {
    this.#isOpen = false;
    this.#releaseAll();
    this.#transport.destroy();
  }

  #receive(chunk: Buffer): void {
    if (!this.#isOpen) return;
    this.#parser.push(chunk);
    if (!this.#isHeld) this.#handleFrames();
  }

  /** Handles frames until there is no whole one, or one makes those behind it wait. */
  #handleFrames(): void {
    try {
      while (this.#isOpen) {
        const frame = this.#parser.next();
        if (frame === undefined) return;
        const wait = this.#handle(frame) ?? this.#output.whenShort();
        if (wait !== undefined) {
          this.#holdUntil(wait);
          return;
        }
      }
    } catch {
      this.#expel();
    }
  }

  #holdUntil(wait: Promise<void>): void {
    this.#isHeld = true;
    this.#transport.pause();
    // A paused socket does not notice that the client has gone; a write does.
    const probe = setInterval(() => this.#ping(), this.#options.limits.probeMs);
    const goOn = () => {
      clearInterval(probe);
      this.#isHeld = false;
      this.#handleFrames();
      if (!this.#isHeld) this.#transport.resume();
    };
    wait.then(goOn, () => {
      clearInterval(probe);
      this.#expel();
    });
  }

  #ping(): void {
    // The server's pings have even ids.
    this.#pingId = (this.#pingId + 2) & 0x7ffffffe;
    this.#output.send(encodeControlFrame(SPDY_PING, { numbers: [this.#pingId] }));
  }

  #handle(frame: SpdyFrame): Promise<void> | undefined {
    switch (frame.type) {
      case 'data':
        return this.#handleData(frame);
      case 'synStream':
        return this.#inflate(frame.headerBlock).then((headers) => this.#open(frame, headers));
      case 'headers':
        // Of no use, but without them the common compression context would be out of step.
        return this.#inflate(frame.headerBlock).then(() => {
          if (frame.isFin) this.#streams.get(frame.streamId)?.receiveEnd();
        });
      case 'rstStream':
        this.#forget(frame.streamId)?.lose();
        return undefined;
      case 'ping':
        if (frame.id % 2 === 1) {
          this.#output.send(encodeControlFrame(SPDY_PING, { numbers: [frame.id] }));
        }
        return undefined;
      case 'goAway':
      case 'ignored':
        return undefined;
    }
  }

  #handleData({ streamId, payload, isFin }: SpdyData): Promise<void> | undefined {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return undefined;
    stream.receive(payload);
    if (isFin) stream.receiveEnd();
    return this.#gate.hold(stream);
  }

  async #inflate(block: Buffer): Promise<SpdyHeaders> {
    this.#inflater ??= new SpdyHeaderInflater();
    return decodeHeaderBlock(await this.#inflater.inflate(block));
  }

  #open(
    frame: Extract<SpdyControlFrame, { readonly type: 'synStream' }>,
    headers: SpdyHeaders,
  ): void {
    if (!this.#isOpen) return;
    const id = frame.streamId;
    if (id % 2 === 0 || id <= this.#lastStreamId) {
      this.#forget(id)?.lose();
      this.#reset(id, SPDY_RST_PROTOCOL_ERROR);
      return;
    }
    this.#lastStreamId = id;
    let stream: ChannelStream | undefined;
    if (!frame.isUnidirectional && this.#streams.size < this.#options.limits.openStreams) {
      this.#options.onStream({
        id,
        headers,
        accept: ({ drainOnLoss = false } = {}) => {
          stream = this.#accept(id, drainOnLoss);
          return stream;
        },
      });
    }
    if (stream === undefined) this.#reset(id, SPDY_RST_REFUSED);
    else if (frame.isFin) stream.receiveEnd();
  }

  #accept(id: number, drainOnLoss: boolean): ChannelStream {
    const stream = new ChannelStream({
      gate: this.#gate,
      drainOnLoss,
      outlet: {
        sendData: (payload, done) => this.#output.sendData(id, { payload, done }),
        sendEnd: (done) => this.#output.sendEnd(id, done),
        released: (complete) => {
          if (this.#streams.get(id) !== stream) return;
          this.#streams.delete(id);
          if (!complete && this.#isOpen) this.#reset(id, SPDY_RST_CANCEL);
        },
      },
    });
    this.#streams.set(id, stream);
    // Clients drop what comes on a stream before its reply.
    this.#output.send(
      encodeControlFrame(SPDY_SYN_REPLY, { numbers: [id], rest: this.#deflater.encodeEmpty() }),
    );
    return stream;
  }

  #forget(id: number): ChannelStream | undefined {
    const stream = this.#streams.get(id);
    this.#streams.delete(id);
    return stream;
  }

  #reset(id: number, status: number): void {
    this.#output.send(encodeControlFrame(SPDY_RST_STREAM, { numbers: [id, status] }));
  }

  /** The client does not keep to the protocol; GOAWAY has a number for that and no room for a reason. */
  #expel(): void {
    if (!this.#isOpen) return;
    this.#output.send(
      encodeControlFrame(SPDY_GOAWAY, {
        numbers: [this.#lastStreamId, SPDY_GOAWAY_PROTOCOL_ERROR],
      }),
    );
    void closeGently(this.#transport, this.#options.limits.goodbyeMs);
    this.#lose({ keepTransport: true });
  }

  #lose({ keepTransport = false }: { readonly keepTransport?: boolean } = {}): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#releaseAll();
    if (!keepTransport) this.#transport.destroy();
    this.#options.onLost();
  }

  #releaseAll(): void {
    this.#inflater?.close();
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    for (const stream of streams) stream.lose();
    this.#output.close();
    this.#gate.release();
  }
}
