import type { Socket } from 'node:net';
import type { BlobSink, Reception } from './blob-sink.js';
import { type BlobTlsOptions, connectSocket } from './blob-socket.js';
import { ConnectionFault, idleFault } from './connection-fault.js';
import { type ResponseHead, ResponseHeadReader } from './response-head.js';

export interface BlobConnectionOptions {
  readonly connectTimeoutMs: number;
  /** Longest wait for the whole head of an answer. */
  readonly headersTimeoutMs: number;
  /** Longest wait for the next byte of a body, while there is room for it. */
  readonly bodyIdleTimeoutMs: number;
  /** A TLS session to go on with. */
  readonly session?: Buffer | undefined;
  readonly tls?: BlobTlsOptions | undefined;
  readonly onSession: (session: Buffer) => void;
  /** The answer was read to its end and the connection can be used again. */
  readonly onFree: (connection: BlobConnection) => void;
  readonly onClosed: (connection: BlobConnection) => void;
}

export interface BlobConnectionRequest {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/** One request and its answer. */
interface Exchange {
  readonly end: () => void;
  readonly onHead: (head: ResponseHead) => void;
  readonly onHeadFault: (fault: unknown) => void;
  /** Until the head is complete. */
  reader: ResponseHeadReader | undefined;
  /** Once the body is wanted. */
  reading:
    | {
        readonly sink: BlobSink;
        readonly onEnd: () => void;
        readonly onFault: (e: unknown) => void;
      }
    | undefined;
  /** Bytes of the body that were not yet given. */
  remaining: number;
  isReusable: boolean;
}

const BUFFER_BYTES = 256 * 1024;
/** Less is not worth a thread of the sink. */
const MIN_LENT_BYTES = 256 * 1024;

/**
 * One connection to one origin, for one GET at a time, whose body goes from the socket through one buffer to the sink: nothing is allocated for it.
 *
 * A connection is connecting, free, in an exchange (head → paused → body, paused while the sink is full) or closed. Every fault closes it.
 */
export class BlobConnection {
  /** Whether it was closed by the other end in an exchange before any byte of an answer: an old connection may have died of age. */
  diedUnanswered = false;
  readonly #options: BlobConnectionOptions;
  readonly #socket: Socket;
  #exchange: Exchange | undefined;
  /** Copies of what came while the body could not be given: TLS hands over what it has decrypted already. */
  #held: Buffer[] = [];
  #isFull = false;
  /** Why it is closed. */
  #fault: unknown;

  /** Begins to connect to the origin of `url`; {@link connected} tells how that ends. */
  constructor(url: URL, options: BlobConnectionOptions) {
    this.#options = options;
    this.#socket = connectSocket(url, {
      session: options.session,
      tls: options.tls,
      onread: {
        buffer: Buffer.allocUnsafeSlow(BUFFER_BYTES),
        callback: (size, buffer) => this.#take(buffer.subarray(0, size)),
      },
    });
    this.#socket
      .on('session', options.onSession)
      .on('timeout', () => this.#fail(idleFault(options.bodyIdleTimeoutMs)))
      .on('error', (error) => this.#lose(error))
      .on('end', () => this.#lose(undefined))
      .on('close', () => {
        this.#lose(undefined);
        options.onClosed(this);
      });
  }

  /** Called once, before anything is asked. @throws What the socket says, ConnectionFault `ETIMEDOUT`, the reason of `signal`. */
  connected(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const { connectTimeoutMs } = this.#options;
      const event = 'encrypted' in this.#socket ? 'secureConnect' : 'connect';
      const settle = (action: () => void) => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
        this.#socket.removeListener(event, succeed).removeListener('close', fail);
        action();
      };
      const succeed = () => settle(resolve);
      const fail = () => settle(() => reject(this.#fault));
      const giveUp = (reason: unknown) => {
        this.#fail(reason);
        fail();
      };
      const abort = () => giveUp(signal?.reason);
      const timer = setTimeout(() => {
        const seconds = connectTimeoutMs / 1000;
        giveUp(new ConnectionFault('ETIMEDOUT', `no connection for ${seconds} s`));
      }, connectTimeoutMs);
      signal?.addEventListener('abort', abort, { once: true });
      this.#socket.once(event, succeed).once('close', fail);
    });
  }

  /**
   * Asks for `url`, which has the origin of this connection. The answer's body must be poured or discarded before the next request.
   * @throws ResponseHeadError, ConnectionFault, what the socket says, the reason of `signal`.
   */
  async ask({ url, headers, signal }: BlobConnectionRequest): Promise<ResponseHead> {
    const request = requestText(url, headers);
    signal?.throwIfAborted();
    if (this.#fault !== undefined) {
      this.diedUnanswered = true;
      throw this.#fault;
    }
    this.#socket.ref();
    return new Promise<ResponseHead>((resolve, reject) => {
      const { headersTimeoutMs } = this.#options;
      const timer = setTimeout(() => {
        this.#fail(new ConnectionFault('ETIMEDOUT', `no head for ${headersTimeoutMs / 1000} s`));
      }, headersTimeoutMs);
      const abort = () => this.#fail(signal?.reason);
      signal?.addEventListener('abort', abort, { once: true });
      this.#exchange = {
        end: () => {
          clearTimeout(timer);
          signal?.removeEventListener('abort', abort);
        },
        onHead: (head) => {
          clearTimeout(timer);
          resolve(head);
        },
        onHeadFault: reject,
        reader: new ResponseHeadReader(),
        reading: undefined,
        remaining: 0,
        isReusable: true,
      };
      this.#socket.write(request, 'latin1');
    });
  }

  /** Gives the body of the answer to `sink`. @throws As {@link BlobConnection.ask}, and what `sink` throws. */
  pour(sink: BlobSink): Promise<void> {
    return new Promise((resolve, reject) => {
      const exchange = this.#exchange;
      if (exchange === undefined) {
        reject(this.#fault);
        return;
      }
      exchange.reading = { sink, onEnd: resolve, onFault: reject };
      this.#advance(exchange);
    });
  }

  /** Leaves the answer: the connection stays open if the whole body is here already. */
  discard(): void {
    const exchange = this.#exchange;
    if (exchange === undefined) return;
    const heldBytes = this.#held.reduce((sum, { byteLength }) => sum + byteLength, 0);
    exchange.isReusable &&= heldBytes === exchange.remaining;
    this.#finish(exchange);
  }

  /** Lets the process end though this connection is open. */
  unref(): void {
    this.#socket.unref();
  }

  destroy(): void {
    this.#fail(new ConnectionFault('ECONNABORTED', 'the connection was closed'));
  }

  /** Bytes have come. False: no more for now. */
  #take(bytes: Uint8Array): boolean {
    const exchange = this.#exchange;
    if (exchange === undefined) {
      // Nobody has asked for anything.
      this.#fail(new ConnectionFault('ECONNABORTED', 'the other end speaks unasked'));
      return false;
    }
    if (exchange.reader !== undefined) {
      this.#takeHead(exchange, bytes);
      return this.#exchange?.reader !== undefined;
    }
    if (exchange.reading !== undefined && !this.#isFull) return this.#give(exchange, bytes);
    this.#held.push(Buffer.from(bytes));
    return false;
  }

  #takeHead(exchange: Exchange, bytes: Uint8Array): void {
    try {
      const taken = exchange.reader?.take(bytes);
      if (taken === undefined) return;
      const { head, rest } = taken;
      exchange.reader = undefined;
      exchange.remaining = head.bodyBytes ?? Number.POSITIVE_INFINITY;
      exchange.isReusable = head.isKeptAlive;
      if (rest.byteLength > 0) this.#held.push(Buffer.from(rest));
      exchange.onHead(head);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Hands a piece to the sink. Returns whether it takes more. */
  #give(exchange: Exchange, bytes: Uint8Array): boolean {
    const piece =
      bytes.byteLength > exchange.remaining ? bytes.subarray(0, exchange.remaining) : bytes;
    if (piece !== bytes) exchange.isReusable = false;
    exchange.remaining -= piece.byteLength;
    try {
      const sink = exchange.reading?.sink;
      if (sink === undefined || piece.byteLength === 0 || sink.write(piece)) {
        // The sink may have ended all of it.
        if (exchange.remaining === 0 && this.#exchange === exchange) this.#finish(exchange);
        return this.#fault === undefined;
      }
      this.#isFull = true;
      // A sink that takes its time is no idle connection.
      this.#socket.setTimeout(0);
      sink.drained().then(
        () => {
          this.#isFull = false;
          this.#advance(exchange);
        },
        (error: unknown) => this.#failIn(exchange, error),
      );
    } catch (error) {
      this.#failIn(exchange, error);
    }
    return false;
  }

  /** Goes on with the body: what was held, then the end of it, or what the socket brings next. */
  #advance(exchange: Exchange): void {
    while (this.#exchange === exchange && !this.#isFull) {
      const piece = this.#held.shift();
      if (piece !== undefined) {
        this.#give(exchange, piece);
      } else if (exchange.remaining === 0) {
        this.#finish(exchange);
      } else if (this.#fault !== undefined) {
        this.#fail(this.#fault);
      } else if (this.#lend(exchange)) {
        return;
      } else {
        this.#socket.setTimeout(this.#options.bodyIdleTimeoutMs);
        this.#socket.resume();
        return;
      }
    }
  }

  /** Lets the sink read the rest of a large body itself, if it can. Nothing is read here meanwhile. */
  #lend(exchange: Exchange): boolean {
    const receive = exchange.reading?.sink.receive;
    const fd = this.#descriptor();
    if (receive === undefined || fd === undefined || exchange.remaining < MIN_LENT_BYTES)
      return false;
    this.#socket.setTimeout(0);
    const idleTimeoutMs = this.#options.bodyIdleTimeoutMs;
    receive({ fd, bytes: exchange.remaining, idleTimeoutMs }).then(
      (reception) => {
        if (this.#exchange === exchange) this.#takeBack(exchange, reception);
      },
      (error: unknown) => this.#failIn(exchange, error),
    );
    return true;
  }

  #takeBack(exchange: Exchange, { bytes, fault }: Reception): void {
    exchange.remaining -= bytes;
    if (fault === 'idle') this.#fail(idleFault(this.#options.bodyIdleTimeoutMs));
    else if (fault === 'closed') this.#lose(undefined);
    else if (fault !== undefined) this.#lose(fault);
    else this.#advance(exchange);
  }

  /** Of the socket, if what it carries is not encrypted. */
  #descriptor(): number | undefined {
    if ('encrypted' in this.#socket) return undefined;
    // Not public, but net.Socket has it since Node 0.x wherever there are descriptors.
    const fd = (this.#socket as { _handle?: { fd?: unknown } | null })._handle?.fd;
    return typeof fd === 'number' && fd >= 0 ? fd : undefined;
  }

  #finish(exchange: Exchange): void {
    const isReusable = exchange.isReusable && this.#fault === undefined;
    this.#exchange = undefined;
    exchange.end();
    this.#held = [];
    this.#socket.setTimeout(0);
    if (isReusable) {
      // Reads on, so that it hears when the other end closes.
      this.#socket.resume();
      this.#options.onFree(this);
    } else {
      this.destroy();
    }
    exchange.reading?.onEnd();
  }

  /** The other end has closed, or the way to it has broken. */
  #lose(error: Error | undefined): void {
    if (this.#fault !== undefined) return;
    const exchange = this.#exchange;
    this.diedUnanswered = exchange?.reader?.isUntouched === true;
    const fault = error ?? new ConnectionFault('ECONNRESET', earlyEnd(exchange));
    const isBehind = this.#isFull || this.#held.length > 0 || exchange?.reading === undefined;
    if (exchange !== undefined && exchange.reader === undefined && isBehind) {
      // What has come before is given first.
      this.#fault = fault;
      this.#socket.destroy();
    } else {
      this.#fail(fault);
    }
  }

  #failIn(exchange: Exchange, reason: unknown): void {
    if (this.#exchange === exchange) this.#fail(reason);
  }

  #fail(reason: unknown): void {
    this.#fault ??= reason;
    const exchange = this.#exchange;
    this.#exchange = undefined;
    this.#held = [];
    this.#socket.destroy();
    exchange?.end();
    if (exchange?.reader !== undefined) exchange.onHeadFault(reason);
    else exchange?.reading?.onFault(reason);
  }
}

function earlyEnd(exchange: Exchange | undefined): string {
  if (exchange === undefined || exchange.reader !== undefined) return 'the connection was closed';
  return `the connection was closed ${exchange.remaining} bytes before the end of the body`;
}

/** @throws ConnectionFault `EINVAL` for what would end a line of the head. */
function requestText(url: URL, headers: Readonly<Record<string, string>>): string {
  const fields = { host: url.host, 'accept-encoding': 'identity', ...headers };
  const lines = [`GET ${url.pathname}${url.search} HTTP/1.1`];
  for (const [name, value] of Object.entries(fields)) {
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name) || !/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
      // The value may be a credential.
      throw new ConnectionFault('EINVAL', `the header "${name.slice(0, 40)}" is not allowed`);
    }
    lines.push(`${name}: ${value}`);
  }
  return `${lines.join('\r\n')}\r\n\r\n`;
}
