import { BlobConnection, type BlobConnectionRequest } from './blob-connection.js';
import type { BlobTlsOptions } from './blob-socket.js';
import { ConnectionFault, IDLE_CONNECTION_MS } from './connection-fault.js';
import type { ResponseBody } from './response-body.js';
import type { ResponseHead, ResponseHeaders } from './response-head.js';

export interface BlobConnectionPoolOptions {
  readonly connectTimeoutMs: number;
  /** Longest wait for the head of an answer. */
  readonly headersTimeoutMs: number;
  /** Longest wait for the next byte of a body, while there is room for it. */
  readonly bodyIdleTimeoutMs: number;
  readonly tls?: BlobTlsOptions | undefined;
}

export interface BlobAnswer {
  readonly status: number;
  readonly headers: ResponseHeaders;
  readonly body: ResponseBody;
}

const MAX_IDLE_PER_ORIGIN = 8;
const MAX_SESSIONS = 64;

/**
 * GET by HTTP/1.1 for large bodies: straight from the socket to the sink, where a general client costs several times the processor time. It knows
 * no redirects, retries, proxies, and no body that is not framed by its length.
 */
export class BlobConnectionPool {
  readonly #options: BlobConnectionPoolOptions;
  readonly #open = new Set<BlobConnection>();
  /** By origin, the one used last at the end. */
  readonly #idle = new Map<
    string,
    { readonly connection: BlobConnection; readonly timer: NodeJS.Timeout }[]
  >();
  /** TLS sessions by origin: a second connection is cheaper for both ends. */
  readonly #sessions = new Map<string, Buffer>();
  #isClosed = false;

  constructor(options: BlobConnectionPoolOptions) {
    this.#options = options;
  }

  /**
   * Sends a GET. Undefined: the answer is of a kind for a general client (chunked, encoded, ended by closing), who must ask again.
   * @throws ResponseHeadError, ConnectionFault, what socket and TLS say, the reason of `signal`.
   */
  async get(request: BlobConnectionRequest): Promise<BlobAnswer | undefined> {
    request.signal?.throwIfAborted();
    const idle = this.#takeIdle(request.url.origin);
    if (idle !== undefined) {
      try {
        return await this.#ask(idle, request);
      } catch (error) {
        request.signal?.throwIfAborted();
        if (!idle.diedUnanswered) throw error;
        // It was closed at the other end while nobody used it. A GET may be sent again.
      }
    }
    return this.#ask(await this.#connect(request), request);
  }

  /** Closes the idle connections and cuts those in use. */
  close(): void {
    this.#isClosed = true;
    for (const connection of this.#open) connection.destroy();
  }

  async #ask(
    connection: BlobConnection,
    request: BlobConnectionRequest,
  ): Promise<BlobAnswer | undefined> {
    const head: ResponseHead = await connection.ask(request);
    if (head.bodyBytes === undefined) {
      connection.destroy();
      return undefined;
    }
    let isTaken = false;
    const body: ResponseBody = {
      pour: (sink) => {
        isTaken = true;
        return connection.pour(sink);
      },
      discard: async () => {
        // The connection may have been lent to somebody else since.
        if (!isTaken) connection.discard();
        isTaken = true;
      },
    };
    return { status: head.status, headers: head.headers, body };
  }

  async #connect({ url, signal }: BlobConnectionRequest): Promise<BlobConnection> {
    if (this.#isClosed) throw new ConnectionFault('ECONNABORTED', 'the client was closed');
    const { origin } = url;
    const options = {
      ...this.#options,
      session: this.#sessions.get(origin),
      onSession: (session: Buffer) => {
        if (this.#sessions.size < MAX_SESSIONS) this.#sessions.set(origin, session);
      },
      onFree: (connection: BlobConnection) => this.#keep(origin, connection),
      onClosed: (connection: BlobConnection) => {
        this.#open.delete(connection);
        this.#forget(origin, connection);
      },
    };
    const connection = new BlobConnection(url, options);
    this.#open.add(connection);
    try {
      await connection.connected(signal);
      return connection;
    } catch (error) {
      this.#sessions.delete(origin);
      throw error;
    }
  }

  #takeIdle(origin: string): BlobConnection | undefined {
    const connection = this.#idle.get(origin)?.at(-1)?.connection;
    if (connection !== undefined) this.#forget(origin, connection);
    return connection;
  }

  #keep(origin: string, connection: BlobConnection): void {
    const idle = this.#idle.get(origin) ?? [];
    if (this.#isClosed || idle.length >= MAX_IDLE_PER_ORIGIN) {
      connection.destroy();
      return;
    }
    connection.unref();
    const timer = setTimeout(() => connection.destroy(), IDLE_CONNECTION_MS).unref();
    idle.push({ connection, timer });
    this.#idle.set(origin, idle);
  }

  #forget(origin: string, connection: BlobConnection): void {
    const idle = this.#idle.get(origin) ?? [];
    const kept = idle.filter((each) => {
      if (each.connection !== connection) return true;
      clearTimeout(each.timer);
      return false;
    });
    if (kept.length > 0) this.#idle.set(origin, kept);
    else this.#idle.delete(origin);
  }
}
