import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import type { BlobSink, PlainConnection, Reception } from '../../src/registry/blob-sink.js';

/** One request as it came. */
export interface RawRequest {
  readonly text: string;
  /** The how-manyeth connection, and the how-manyeth request on it; from 1. */
  readonly connection: number;
  readonly request: number;
}

export type Answer = (socket: Socket, request: RawRequest) => unknown;

export interface Certificate {
  readonly key: string;
  readonly cert: string;
}

/** A server on 127.0.0.1 that says byte for byte what a test wants. */
export class RawServer {
  readonly requests: RawRequest[] = [];
  readonly sockets: Socket[] = [];
  readonly #server: Server;
  readonly #scheme: string;

  private constructor(server: Server, scheme: string) {
    this.#server = server;
    this.#scheme = scheme;
  }

  static async start(answer: Answer, certificate?: Certificate): Promise<RawServer> {
    const accept = (socket: Socket) => {
      self.sockets.push(socket);
      const connection = self.sockets.length;
      let received = '';
      let request = 0;
      socket
        .on('error', () => undefined)
        .on('data', (chunk: Buffer) => {
          received += chunk.toString('latin1');
          const end = received.indexOf('\r\n\r\n');
          if (end < 0) return;
          const seen = { text: received.slice(0, end), connection, request: ++request };
          received = received.slice(end + 4);
          self.requests.push(seen);
          answer(socket, seen);
        });
    };
    const protocols = { ALPNProtocols: ['h2', 'http/1.1'] };
    const server = certificate
      ? createTlsServer({ ...certificate, ...protocols }, accept)
      : createServer(accept);
    const self = new RawServer(server, certificate ? 'https' : 'http');
    server.on('tlsClientError', () => undefined);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return self;
  }

  url(path = '/blob', host = '127.0.0.1'): URL {
    const { port } = this.#server.address() as AddressInfo;
    return new URL(`${this.#scheme}://${host}:${port}${path}`);
  }

  isSessionReused(connection: number): boolean {
    return (this.sockets[connection - 1] as TLSSocket).isSessionReused();
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** A certificate for 127.0.0.1 and localhost that nobody has signed but itself. */
export function selfSigned(): Certificate {
  const directory = mkdtempSync(join(tmpdir(), 'cais-certificate-'));
  try {
    const [key, cert] = ['key.pem', 'cert.pem'].map((name) => join(directory, name)) as [
      string,
      string,
    ];
    execFileSync(
      'openssl',
      [
        ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
        ...['-subj', '/CN=cais test', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'],
        ...['-days', '2', '-keyout', key, '-out', cert],
      ],
      { stdio: 'ignore' },
    );
    return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Remembers what it takes; as slow as it is told. */
export class CollectingSink implements BlobSink {
  readonly pieces: Buffer[] = [];
  /** Writes that came while it was full. */
  writesWhileFull = 0;
  readonly #makeRoom: (() => Promise<void>) | undefined;
  #isFull = false;

  /** `makeRoom`: full after every piece until it settles. */
  constructor(makeRoom?: () => Promise<void>) {
    this.#makeRoom = makeRoom;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.pieces);
  }

  write(chunk: Uint8Array): boolean {
    if (this.#isFull) this.writesWhileFull++;
    // A copy: the memory is used again.
    this.pieces.push(Buffer.from(chunk));
    this.#isFull = this.#makeRoom !== undefined;
    return !this.#isFull;
  }

  async drained(): Promise<void> {
    await this.#makeRoom?.();
    this.#isFull = false;
  }
}

/** Reads connections itself, as a layer's job does. */
export class ReceivingSink extends CollectingSink {
  /** What it was lent. */
  readonly connections: PlainConnection[] = [];

  readonly receive = async (connection: PlainConnection): Promise<Reception> => {
    this.connections.push(connection);
    const { fd, bytes, idleTimeoutMs } = connection;
    let received = 0;
    let idleSince = performance.now();
    while (received < bytes) {
      const room = Buffer.alloc(Math.min(bytes - received, 65_536));
      const size = tryRead(fd, room);
      if (size === 0) return { bytes: received, fault: 'closed' };
      if (size !== undefined) {
        this.write(room.subarray(0, size));
        received += size;
        idleSince = performance.now();
      } else if (performance.now() - idleSince > idleTimeoutMs) {
        return { bytes: received, fault: 'idle' };
      }
      await delay(1);
    }
    return { bytes: received, fault: undefined };
  };
}

/** Undefined: nothing there yet. */
function tryRead(fd: number, room: Buffer): number | undefined {
  try {
    return readSync(fd, room);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return undefined;
    throw error;
  }
}

/** Waits until a connection is closed, in whatever way. */
export async function closed(socket: Socket | undefined): Promise<void> {
  if (socket === undefined || socket.destroyed) return;
  await new Promise((resolve) => socket.once('close', resolve));
}

/** Answers 200 with this body. */
export function ok(body: Uint8Array, fields = ''): Buffer {
  const head = `HTTP/1.1 200 OK\r\nContent-Length: ${body.byteLength}\r\n${fields}\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}
