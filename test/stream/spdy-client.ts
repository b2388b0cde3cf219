import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { constants, createDeflate, createInflate, type Deflate, type Inflate } from 'node:zlib';
import { SPDY_HEADER_DICTIONARY } from '../../src/stream/spdy-header-dictionary.js';

/** Nothing that a test waits for takes so long; shorter than the tests' own limits, which tell nothing. */
const PATIENCE_MS = 45_000;

/** What came on one stream. */
export class ClientStream {
  readonly id: number;
  readonly received: Buffer[] = [];
  replied = false;
  ended = false;
  resetStatus: number | undefined;
  readonly #changed: () => Promise<void>;

  constructor(id: number, changed: () => Promise<void>) {
    this.id = id;
    this.#changed = changed;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.received);
  }

  get text(): string {
    return this.bytes.toString();
  }

  /** Waits for something to become true; a closed connection that leaves it false is an error. */
  async until(condition: (stream: ClientStream) => boolean): Promise<this> {
    while (!condition(this)) await this.#changed();
    return this;
  }

  /** Waits for the server's end of the stream and answers all that came; one that is reset before has no end. */
  async toEnd(): Promise<string> {
    await this.until(({ ended, resetStatus }) => ended || resetStatus !== undefined);
    if (!this.ended) throw new Error(`Stream ${this.id} was reset: status ${this.resetStatus}`);
    return this.text;
  }
}

/**
 * A small SPDY/3.1 client, written after the draft and independent of the server's code but for the dictionary: header blocks go
 * through zlib itself in both directions.
 */
export class SpdyClient {
  readonly streams = new Map<number, ClientStream>();
  readonly pings: number[] = [];
  goAway: { readonly lastStreamId: number; readonly status: number } | undefined;
  closed = false;
  readonly transport: Duplex;
  readonly #deflate: Deflate = createDeflate({ dictionary: SPDY_HEADER_DICTIONARY });
  readonly #inflate: Inflate = createInflate({ dictionary: SPDY_HEADER_DICTIONARY });
  #nextId = 1;
  #unread = Buffer.alloc(0);
  #waiters: (() => void)[] = [];
  #work: Promise<void> = Promise.resolve();
  #opening: Promise<unknown> = Promise.resolve();

  constructor(transport: Duplex, head: Buffer) {
    this.transport = transport;
    transport.on('error', () => undefined);
    transport.on('data', (chunk: Buffer) => this.#receive(chunk));
    transport.on('close', () => {
      void this.#work.finally(() => {
        this.closed = true;
        this.#deflate.close();
        this.#inflate.close();
        this.#notify();
      });
    });
    if (head.length > 0) transport.unshift(head);
  }

  /** Resolves at the next event; rejects when no more can come, or none comes. */
  changed = (): Promise<void> => {
    if (this.closed) return Promise.reject(new Error('The connection is closed'));
    return new Promise((resolve, reject) => {
      const giveUp = () => reject(new Error(`Nothing for ${PATIENCE_MS} ms: ${this.#describe()}`));
      const timer = setTimeout(giveUp, PATIENCE_MS);
      this.#waiters.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  };

  #describe(): string {
    const { destroyed, readableEnded, readableFlowing, writableFinished } = this.transport;
    const streams = [...this.streams.values()].map(({ id, replied, ended }) => ({
      id,
      replied,
      ended,
    }));
    const transport = { destroyed, readableEnded, readableFlowing, writableFinished };
    return JSON.stringify({ transport, streams, goAway: this.goAway });
  }

  async untilClosed(): Promise<void> {
    while (!this.closed) await this.changed();
  }

  /** Opens a stream, one after the other: ids must grow, and all header blocks are one compressed stream. */
  open(headers: Record<string, string>, { flags = 0, id = 0 } = {}): Promise<ClientStream> {
    const opened = this.#opening.then(async () => {
      const stream = new ClientStream(id === 0 ? this.#nextId : id, this.changed);
      this.#nextId = Math.max(this.#nextId, stream.id + 2);
      this.streams.set(stream.id, stream);
      const block = await this.compress(encodeHeaders(headers));
      const fixed = Buffer.alloc(10);
      fixed.writeUInt32BE(stream.id);
      this.control(1, { flags, body: Buffer.concat([fixed, block]) });
      return stream;
    });
    this.#opening = opened.catch(() => undefined);
    return opened;
  }

  /** Opens the streams of a process and waits for their replies. */
  async openAll<K extends string>(...types: K[]): Promise<Record<K, ClientStream>> {
    const streams = {} as Record<K, ClientStream>;
    for (const type of types) streams[type] = await this.open({ streamtype: type });
    for (const type of types) await streams[type].until((stream) => stream.replied);
    return streams;
  }

  compress(block: Buffer): Promise<Buffer> {
    return new Promise((resolve) => {
      const pieces: Buffer[] = [];
      const collect = (piece: Buffer) => pieces.push(piece);
      this.#deflate.on('data', collect);
      this.#deflate.write(block);
      // The last piece may be handed on a turn after the callback.
      this.#deflate.flush(constants.Z_SYNC_FLUSH, () =>
        setImmediate(() => {
          this.#deflate.off('data', collect);
          resolve(Buffer.concat(pieces));
        }),
      );
    });
  }

  control(type: number, { flags = 0, body }: { flags?: number; body: Buffer }): void {
    const head = Buffer.alloc(8);
    head.writeUInt16BE(0x8003);
    head.writeUInt16BE(type, 2);
    head.writeUInt8(flags, 4);
    head.writeUIntBE(body.length, 5, 3);
    this.transport.write(Buffer.concat([head, body]));
  }

  /** Sends bytes in frames of 32 KiB; resolves when the socket takes more. */
  async send(stream: ClientStream, bytes: Buffer | string): Promise<void> {
    const payload = Buffer.from(bytes);
    for (let offset = 0; offset < payload.length; offset += 32_768) {
      const piece = payload.subarray(offset, offset + 32_768);
      this.data(stream.id, { flags: 0, payload: piece });
      if (this.transport.writableNeedDrain) await once(this.transport, 'drain');
    }
  }

  end(stream: ClientStream): void {
    this.data(stream.id, { flags: 1, payload: Buffer.alloc(0) });
  }

  data(streamId: number, { flags, payload }: { flags: number; payload: Buffer }): void {
    const head = Buffer.alloc(8);
    head.writeUInt32BE(streamId);
    head.writeUInt8(flags, 4);
    head.writeUIntBE(payload.length, 5, 3);
    this.transport.write(Buffer.concat([head, payload]));
  }

  reset(streamId: number, status = 5): void {
    this.control(3, { body: words(streamId, status) });
  }

  ping(id: number): void {
    this.control(6, { body: words(id) });
  }

  destroy(): void {
    this.transport.destroy();
  }

  /** What Kubernetes' clients do when they are done. */
  leave(): void {
    for (const { id } of this.streams.values()) this.reset(id);
    this.control(7, { body: words(0, 0) });
    this.transport.end();
  }

  #receive(chunk: Buffer): void {
    this.#unread = Buffer.concat([this.#unread, chunk]);
    while (this.#unread.length >= 8) {
      const length = this.#unread.readUIntBE(5, 3);
      if (this.#unread.length < 8 + length) break;
      const frame = this.#unread.subarray(0, 8 + length);
      this.#unread = this.#unread.subarray(8 + length);
      this.#work = this.#work.then(() => this.#handle(frame)).then(() => this.#notify());
    }
  }

  async #handle(frame: Buffer): Promise<void> {
    const body = frame.subarray(8);
    const first = frame.readUInt32BE(0);
    if (first < 0x80000000) {
      const stream = this.streams.get(first);
      if (stream === undefined) throw new Error(`Data for the unknown stream ${first}`);
      if (!stream.replied) throw new Error(`Data before the reply of stream ${first}`);
      if (body.length > 0) stream.received.push(Buffer.from(body));
      if ((frame.readUInt8(4) & 1) !== 0) stream.ended = true;
      return;
    }
    const stream = this.streams.get(body.readUInt32BE(0));
    switch (frame.readUInt16BE(2)) {
      case 2: {
        const block = await this.#decompress(body.subarray(4));
        if (!block.equals(Buffer.alloc(4))) throw new Error('The reply has headers');
        if (stream) stream.replied = true;
        return;
      }
      case 3:
        if (stream) stream.resetStatus = body.readUInt32BE(4);
        return;
      case 6:
        this.pings.push(body.readUInt32BE(0));
        return;
      case 7:
        this.goAway = { lastStreamId: body.readUInt32BE(0), status: body.readUInt32BE(4) };
        return;
      default:
        throw new Error(`Unexpected frame of type ${frame.readUInt16BE(2)}`);
    }
  }

  #decompress(block: Buffer): Promise<Buffer> {
    return new Promise((resolve) => {
      const pieces: Buffer[] = [];
      this.#inflate.write(block, () => {
        for (;;) {
          const piece: Buffer | null = this.#inflate.read();
          if (piece === null) break;
          pieces.push(piece);
        }
        resolve(Buffer.concat(pieces));
      });
    });
  }

  #notify(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }
}

export function words(...numbers: number[]): Buffer {
  const bytes = Buffer.alloc(4 * numbers.length);
  numbers.forEach((number, index) => {
    bytes.writeUInt32BE(number >>> 0, 4 * index);
  });
  return bytes;
}

export function encodeHeaders(headers: Record<string, string>): Buffer {
  const entries = Object.entries(headers);
  const text = (value: string) => Buffer.concat([words(value.length), Buffer.from(value)]);
  return Buffer.concat([
    words(entries.length),
    ...entries.flatMap(([name, value]) => [text(name), text(value)]),
  ]);
}

/** How the server answered a request to upgrade. */
export interface UpgradeAnswer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly text: string;
  readonly socket: Socket | undefined;
  readonly head: Buffer;
}

export interface UpgradeRequest {
  readonly url: string;
  readonly method?: string;
  readonly headers: Record<string, string | string[]>;
}

/** Sends a request to upgrade and answers what comes back. */
export function requestUpgrade({
  url,
  method = 'POST',
  headers,
}: UpgradeRequest): Promise<UpgradeAnswer> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('No answer to the upgrade')), PATIENCE_MS);
    const request = httpRequest(url, {
      method,
      headers,
      createConnection: ({ host, port }) => connect({ host: host ?? '', port: Number(port) }),
    });
    request.on('error', reject);
    request.on('close', () => clearTimeout(timer));
    request.on('upgrade', (message, socket, head) => {
      clearTimeout(timer);
      resolve({
        status: message.statusCode ?? 0,
        headers: message.headers,
        text: '',
        socket: socket as Socket,
        head,
      });
    });
    request.on('response', (message) => {
      let text = '';
      message.on('data', (chunk) => {
        text += chunk;
      });
      message.on('end', () => {
        const { headers: answered, statusCode: status = 0 } = message;
        resolve({ status, headers: answered, text, socket: undefined, head: Buffer.alloc(0) });
      });
    });
    request.end();
  });
}

export const SPDY_UPGRADE = { Connection: 'Upgrade', Upgrade: 'SPDY/3.1' };
export const PROCESS_VERSIONS = [
  'v5.channel.k8s.io',
  'v4.channel.k8s.io',
  'v3.channel.k8s.io',
  'v2.channel.k8s.io',
  'channel.k8s.io',
];

/** Connects as crictl does. */
export async function connectSpdy(
  url: string,
  versions: string | string[] = PROCESS_VERSIONS,
): Promise<SpdyClient> {
  const answer = await requestUpgrade({
    url,
    headers: { ...SPDY_UPGRADE, 'X-Stream-Protocol-Version': versions },
  });
  if (answer.socket === undefined) throw new Error(`Answered ${answer.status}: ${answer.text}`);
  return new SpdyClient(answer.socket, answer.head);
}
