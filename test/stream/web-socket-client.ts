import { randomBytes } from 'node:crypto';
import { Duplex } from 'node:stream';
import { WebSocket } from 'ws';
import { requestUpgrade, SpdyClient, type UpgradeAnswer } from './spdy-client.js';

/** A client of the channel protocols: what came, by channel. */
export class ChannelClient {
  readonly webSocket: WebSocket;
  readonly messages: { readonly channel: number; readonly payload: Buffer }[] = [];
  closeCode: number | undefined;
  pongs = 0;
  readonly #isBase64: boolean;
  #waiters: (() => void)[] = [];

  private constructor(webSocket: WebSocket, protocol: string) {
    this.webSocket = webSocket;
    this.#isBase64 = protocol.includes('base64');
    webSocket.on('error', () => undefined);
    webSocket.on('message', (raw: Buffer, isBinary: boolean) => {
      if (isBinary === this.#isBase64) throw new Error('The wrong kind of message');
      this.messages.push(
        this.#isBase64
          ? {
              channel: (raw[0] ?? 0) - 0x30,
              payload: Buffer.from(raw.toString('latin1', 1), 'base64'),
            }
          : { channel: raw[0] ?? 255, payload: raw.subarray(1) },
      );
      this.#notify();
    });
    webSocket.on('pong', () => {
      this.pongs++;
      this.#notify();
    });
    webSocket.on('close', (code) => {
      this.closeCode = code;
      this.#notify();
    });
  }

  static async connect(url: string, protocol?: string): Promise<ChannelClient> {
    const webSocket = new WebSocket(url.replace('http', 'ws'), protocol ? [protocol] : []);
    const client = new ChannelClient(webSocket, protocol ?? '');
    await new Promise((resolve, reject) => {
      webSocket.once('open', resolve);
      webSocket.once('error', reject);
    });
    return client;
  }

  text(channel: number): string {
    return this.bytes(channel).toString();
  }

  bytes(channel: number): Buffer {
    return Buffer.concat(
      this.messages.filter((message) => message.channel === channel).map(({ payload }) => payload),
    );
  }

  send(channel: number, payload: Buffer | string): void {
    const bytes = Buffer.from(payload);
    if (this.#isBase64) {
      this.webSocket.send(String.fromCharCode(0x30 + channel) + bytes.toString('base64'));
    } else {
      this.webSocket.send(Buffer.concat([Buffer.from([channel]), bytes]));
    }
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.closeCode !== undefined) throw new Error(`Closed with code ${this.closeCode}`);
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
  }

  async untilClosed(): Promise<number> {
    while (this.closeCode === undefined) {
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
    return this.closeCode;
  }

  #notify(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }
}

/** Sends a handshake by hand: the library refuses protocol names with a slash. */
export function requestWebSocket(
  url: string,
  headers: Record<string, string> = {},
): Promise<UpgradeAnswer> {
  return requestUpgrade({
    url,
    method: 'GET',
    headers: {
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
      ...headers,
    },
  });
}

const TUNNEL = 'SPDY/3.1+portforward.k8s.io';

/** SPDY inside of the binary messages of a WebSocket; messages are cut at `pieceBytes`, wherever that is in a frame. */
export async function connectTunnel(url: string, pieceBytes: number): Promise<SpdyClient> {
  const answer = await requestWebSocket(url, { 'Sec-WebSocket-Protocol': TUNNEL });
  const { socket, head } = answer;
  if (socket === undefined) throw new Error(`Answered ${answer.status}: ${answer.text}`);
  if (answer.headers['sec-websocket-protocol'] !== TUNNEL) throw new Error('Another protocol');
  const frames = new FrameReader();
  const tunnel = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _encoding, done) => {
      for (let offset = 0; offset < chunk.length; offset += pieceBytes) {
        socket.write(maskedFrame(2, chunk.subarray(offset, offset + pieceBytes)));
      }
      done();
    },
    destroy: (error, done) => {
      socket.destroy();
      done(error);
    },
  });
  const receive = (chunk: Buffer) => {
    for (const { opcode, payload } of frames.push(chunk)) {
      if (opcode === 2) tunnel.push(payload);
      if (opcode === 8) socket.end(maskedFrame(8, payload));
    }
  };
  socket.on('data', receive);
  socket.on('error', () => undefined);
  socket.on('close', () => tunnel.destroy());
  if (head.length > 0) receive(head);
  return new SpdyClient(tunnel, Buffer.alloc(0));
}

function maskedFrame(opcode: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(payload.length < 126 ? 2 : 4);
  head.writeUInt8(0x80 | opcode);
  head.writeUInt8(0x80 | Math.min(payload.length, 126), 1);
  if (payload.length >= 126) head.writeUInt16BE(payload.length, 2);
  const mask = randomBytes(4);
  return Buffer.concat([head, mask, payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0))]);
}

class FrameReader {
  #unread = Buffer.alloc(0);

  *push(chunk: Buffer): Generator<{ opcode: number; payload: Buffer }> {
    this.#unread = Buffer.concat([this.#unread, chunk]);
    while (this.#unread.length >= 2) {
      const short = this.#unread.readUInt8(1);
      const headBytes = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (this.#unread.length < headBytes) return;
      const length =
        short < 126
          ? short
          : short === 126
            ? this.#unread.readUInt16BE(2)
            : Number(this.#unread.readBigUInt64BE(2));
      if (this.#unread.length < headBytes + length) return;
      const opcode = this.#unread.readUInt8(0) & 0x0f;
      const payload = Buffer.from(this.#unread.subarray(headBytes, headBytes + length));
      this.#unread = this.#unread.subarray(headBytes + length);
      yield { opcode, payload };
    }
  }
}
