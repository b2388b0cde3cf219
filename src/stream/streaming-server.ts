import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, isIPv6 } from 'node:net';
import type { Duplex } from 'node:stream';
import { OneTimeTokens } from './one-time-tokens.js';
import { type ProcessRequest, runProcess } from './process-session.js';
import { serveSpdyForward } from './spdy-forward.js';
import { serveSpdyProcess } from './spdy-process.js';
import {
  canNumberPorts,
  checkStreamRequest,
  type PortForwardUrlRequest,
  parsePort,
  type StreamRequest,
} from './stream-request.js';
import type { AttachRequest, ExecRequest, StreamingBackend } from './streaming-backend.js';
import { DEFAULT_STREAMING_LIMITS, type StreamingLimits } from './streaming-limits.js';
import {
  acceptSpdy,
  chooseUpgrade,
  type Refusal,
  refuseUpgrade,
  UPGRADE_REQUIRED,
  type Upgrade,
} from './upgrade.js';
import { tunnelThrough, WebSocketDoor } from './web-socket-door.js';
import { serveWebSocketForward } from './web-socket-forward.js';
import { serveWebSocketProcess } from './web-socket-process.js';

export interface StreamingServerOptions {
  readonly backend: StreamingBackend;
  /** Where to listen. By default only this machine reaches it, which is where the kubelet is. */
  readonly address?: string;
  /** 0 takes a free one. */
  readonly port?: number;
  readonly tls?: StreamingTls;
  /** Other than the defaults. */
  readonly limits?: Partial<StreamingLimits>;
  /** Told what nobody else can be told, for the log. */
  readonly onError?: (error: unknown) => void;
}

/** PEM texts. */
export interface StreamingTls {
  readonly certificate: string | Buffer;
  readonly key: string | Buffer;
  /** With it only clients whose certificate it has signed are let in. */
  readonly clientAuthority?: string | Buffer;
}

/** A client that does not even send a request. */
const REQUEST_HEAD_TIMEOUT_MS = 10_000;
const PATH = /^\/(exec|attach|portforward)\/([A-Za-z0-9_-]{1,128})\/?$/;

/** The old WebSocket protocol has no other place for them. */
const PORTS_REQUIRED: Refusal = {
  status: 400,
  text: 'Name 1 to 39 ports in the query: ?port=80&port=8080',
};

/** One request to upgrade, with what it is allowed to do. */
interface Call {
  readonly message: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
  readonly granted: StreamRequest;
}

/**
 * The HTTP server to which clients come for exec, attach and port-forward, with a URL that works once and for a minute. It knows
 * nothing of containers; its backend does.
 * @see contracts/streaming.md
 */
export class StreamingServer {
  readonly #backend: StreamingBackend;
  readonly #limits: StreamingLimits;
  readonly #tokens: OneTimeTokens<StreamRequest>;
  readonly #onError: (error: unknown) => void;
  readonly #door = new WebSocketDoor();
  readonly #sockets = new Set<Duplex>();
  #server: Server | undefined;
  #baseUrl = '';

  private constructor(options: StreamingServerOptions) {
    this.#backend = options.backend;
    this.#limits = { ...DEFAULT_STREAMING_LIMITS, ...options.limits };
    this.#onError = options.onError ?? (() => undefined);
    this.#tokens = new OneTimeTokens({
      lifetimeMs: this.#limits.tokenLifetimeMs,
      capacity: this.#limits.waitingTokens,
    });
  }

  /**
   * Begins to listen.
   * @throws The system's error if address and port cannot be had, or OpenSSL's if certificate and key do not fit.
   */
  static async start(options: StreamingServerOptions): Promise<StreamingServer> {
    const server = new StreamingServer(options);
    await server.#listen(options);
    return server;
  }

  /** Where it listens, for example `http://127.0.0.1:41235`. */
  get baseUrl(): string {
    return this.#baseUrl;
  }

  /** Connections that have been upgraded and are open. */
  get openConnections(): number {
    return this.#sockets.size;
  }

  /**
   * Makes a URL at which the command can be run once.
   * @throws InvalidArgumentError, ResourceExhaustedError
   */
  execUrl(request: ExecRequest): string {
    return this.#grant({ kind: 'exec', request });
  }

  /**
   * Makes a URL at which one client can attach.
   * @throws InvalidArgumentError, ResourceExhaustedError
   */
  attachUrl(request: AttachRequest): string {
    return this.#grant({ kind: 'attach', request });
  }

  /**
   * Makes a URL for one client, which may then make many connections.
   * @throws InvalidArgumentError, ResourceExhaustedError
   */
  portForwardUrl(request: PortForwardUrlRequest): string {
    return this.#grant({ kind: 'portforward', request });
  }

  /** Ends all sessions at once, as if their clients had gone, and stops listening. Closing twice is fine. */
  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    this.#tokens.clear();
    if (server === undefined) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async #listen({ address = '127.0.0.1', port = 0, tls }: StreamingServerOptions): Promise<void> {
    const server = tls === undefined ? createServer() : await createTlsServer(tls);
    server.headersTimeout = REQUEST_HEAD_TIMEOUT_MS;
    server.requestTimeout = REQUEST_HEAD_TIMEOUT_MS;
    server.on('request', (message, response) => this.#answer(message, response));
    server.on('upgrade', (message, socket, head) => void this.#upgrade(message, socket, head));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: address, port }, () => {
        server.off('error', reject);
        resolve();
      });
    });
    server.on('error', this.#onError);
    this.#server = server;
    const bound = server.address() as AddressInfo;
    this.#baseUrl = `${tls === undefined ? 'http' : 'https'}://${reachableHost(bound.address)}:${bound.port}`;
  }

  #grant(granted: StreamRequest): string {
    checkStreamRequest(granted);
    return `${this.#baseUrl}/${granted.kind}/${this.#tokens.issue(granted)}`;
  }

  /** A request without an upgrade. */
  #answer(message: IncomingMessage, response: ServerResponse): void {
    const granted = this.#redeem(message);
    const refusal = 'status' in granted ? granted : UPGRADE_REQUIRED;
    response.writeHead(refusal.status, {
      ...refusal.headers,
      'Content-Type': 'text/plain; charset=utf-8',
      Connection: 'close',
    });
    response.end(`${refusal.text}\n`);
  }

  async #upgrade(message: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    // Whatever happens to the socket, `close` follows, and that is what sessions listen for.
    socket.on('error', () => undefined);
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    try {
      const granted = this.#redeem(message);
      const upgrade = 'status' in granted ? granted : chooseUpgrade(message, granted.kind);
      if ('status' in granted) await this.#refuse(socket, granted);
      else if ('status' in upgrade) await this.#refuse(socket, upgrade);
      else await this.#serve({ message, socket, head, granted }, upgrade);
    } catch (error) {
      socket.destroy();
      this.#onError(error);
    }
  }

  #redeem(message: IncomingMessage): StreamRequest | Refusal {
    const path = (message.url ?? '').split('?')[0] ?? '';
    const [, kind, token] = PATH.exec(path) ?? [];
    if (kind === undefined || token === undefined) return { status: 404, text: 'Not found' };
    if (message.method !== 'GET' && message.method !== 'POST') {
      return { status: 405, text: 'Use GET or POST', headers: { Allow: 'GET, POST' } };
    }
    const granted = this.#tokens.redeem(token);
    if (granted?.kind === kind) return granted;
    return {
      status: 404,
      text: 'No such token: each works once, for its own purpose and for a limited time',
    };
  }

  async #serve(call: Call, upgrade: Upgrade): Promise<void> {
    const { message, socket, head, granted } = call;
    const ports = granted.kind === 'portforward' ? listPorts(message, granted.request) : [];
    if (upgrade.kind === 'webSocket' && granted.kind === 'portforward') {
      if (!canNumberPorts(ports.length)) return await this.#refuse(socket, PORTS_REQUIRED);
    }
    if (upgrade.kind === 'spdy') {
      this.#closeWhenIdle(socket);
      acceptSpdy(socket, upgrade.protocol);
      return await this.#serveSpdy(granted, { transport: socket, head, version: upgrade.version });
    }
    const webSocket = await this.#door.accept(message, { ...call, protocol: upgrade.protocol });
    if (webSocket === undefined) return;
    // Not before: the library turns the socket's time-out off.
    this.#closeWhenIdle(socket);
    if (upgrade.kind === 'tunnel') {
      // It can break while the rest of the library is loaded.
      webSocket.on('error', () => undefined);
      const transport = await tunnelThrough(webSocket);
      return await this.#serveSpdy(granted, { transport, head: Buffer.alloc(0), version: 0 });
    }
    const common = { ...upgrade, webSocket, limits: this.#limits };
    if (granted.kind === 'portforward') {
      const { sandboxId } = granted.request;
      return await serveWebSocketForward({ ...common, sandboxId, ports, backend: this.#backend });
    }
    return await serveWebSocketProcess({ ...common, ...this.#process(granted) });
  }

  #serveSpdy(
    granted: StreamRequest,
    wire: { readonly transport: Duplex; readonly head: Buffer; readonly version: number },
  ): Promise<void> {
    const common = { ...wire, limits: this.#limits };
    if (granted.kind !== 'portforward') {
      return serveSpdyProcess({ ...common, ...this.#process(granted) });
    }
    const { sandboxId } = granted.request;
    return serveSpdyForward({ ...common, sandboxId, backend: this.#backend });
  }

  #process(granted: ProcessRequest): {
    readonly request: ProcessRequest['request'];
    readonly run: Parameters<typeof serveSpdyProcess>[0]['run'];
  } {
    return {
      request: granted.request,
      run: (streams) => runProcess(this.#backend, granted, streams),
    };
  }

  #refuse(socket: Duplex, refusal: Refusal): Promise<void> {
    return refuseUpgrade(socket, refusal, this.#limits.goodbyeMs);
  }

  #closeWhenIdle(socket: Duplex): void {
    const { idleMs } = this.#limits;
    // The sockets of both servers are of node's net, whatever the types say.
    if ('setTimeout' in socket && typeof socket.setTimeout === 'function') {
      socket.setTimeout(idleMs, () => socket.destroy());
    }
  }
}

async function createTlsServer({
  certificate,
  key,
  clientAuthority,
}: StreamingTls): Promise<Server> {
  const https = await import('node:https');
  return https.createServer({
    cert: certificate,
    key,
    minVersion: 'TLSv1.2',
    ...(clientAuthority === undefined
      ? {}
      : { ca: clientAuthority, requestCert: true, rejectUnauthorized: true }),
  });
}

/** Nobody connects to "any address"; this machine is where the clients are. */
function reachableHost(address: string): string {
  if (address === '0.0.0.0') return '127.0.0.1';
  if (address === '::') return '[::1]';
  return isIPv6(address) ? `[${address}]` : address;
}

/** From the request, or as Kubernetes' clients write them into the query: `port=1&port=2,3`. Any that is no port makes it empty. */
function listPorts(message: IncomingMessage, { ports = [] }: PortForwardUrlRequest): number[] {
  if (ports.length > 0) return [...ports];
  const query = new URLSearchParams((message.url ?? '').split('?')[1] ?? '');
  const listed = query
    .getAll('port')
    .flatMap((value) => value.split(','))
    .map(parsePort);
  return listed.every((port) => port !== undefined) ? listed : [];
}
