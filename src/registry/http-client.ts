import {
  Agent,
  type ClientRequest,
  type IncomingMessage,
  request as requestPlain,
} from 'node:http';
import { request as requestTls, Agent as TlsAgent } from 'node:https';
import type { Socket } from 'node:net';
import type { BlobAnswer, BlobConnectionPoolOptions } from './blob-connection-pool.js';
import type { BlobTlsOptions } from './blob-socket.js';
import { ConnectionFault, IDLE_CONNECTION_MS, isBrokenConnection } from './connection-fault.js';
import { type HttpAgents, tunnelAgents } from './proxy-tunnel.js';
import { StreamBody } from './response-body.js';
import type { ResponseHeaders } from './response-head.js';

export interface HttpClientOptions extends BlobConnectionPoolOptions {
  readonly tls: BlobTlsOptions;
  /** Undefined: none. */
  readonly proxy: URL | undefined;
}

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * HTTP/1.1 by node's own client: connections that are used again, and deadlines. Knows no redirects and no retries, but for a connection that was closed
 * while nobody used it.
 */
export class HttpClient {
  readonly #options: HttpClientOptions;
  readonly #agents: HttpAgents;

  constructor(options: HttpClientOptions) {
    this.#options = options;
    const { proxy, tls, connectTimeoutMs } = options;
    const agentOptions = { keepAlive: true, timeout: IDLE_CONNECTION_MS };
    this.#agents =
      proxy === undefined
        ? { plain: new Agent(agentOptions), tls: new TlsAgent({ ...agentOptions, ...tls }) }
        : tunnelAgents(proxy, { ...agentOptions, ...tls, connectTimeoutMs });
  }

  /** @throws ConnectionFault, what node's client, socket and TLS say, the reason of `signal`. */
  async send(request: HttpRequest): Promise<BlobAnswer> {
    for (;;) {
      request.signal?.throwIfAborted();
      const message = this.#begin(request);
      try {
        return await this.#exchange(message, request);
      } catch (error) {
        request.signal?.throwIfAborted();
        // It was closed at the other end while nobody used it. Each attempt uses up one such connection.
        if (!message.reusedSocket || request.method === 'POST' || !isBrokenConnection(error))
          throw error;
      }
    }
  }

  /** Closes the idle connections and cuts those in use. */
  close(): void {
    this.#agents.plain.destroy();
    this.#agents.tls.destroy();
  }

  #begin({ url, method, headers }: HttpRequest): ClientRequest {
    return url.protocol === 'https:'
      ? requestTls(url, { agent: this.#agents.tls, method, headers })
      : requestPlain(url, { agent: this.#agents.plain, method, headers });
  }

  #exchange(message: ClientRequest, { body, signal, url }: HttpRequest): Promise<BlobAnswer> {
    const { connectTimeoutMs, headersTimeoutMs, bodyIdleTimeoutMs } = this.#options;
    return new Promise((resolve, reject) => {
      const giveUp = (reason: unknown) => {
        settle();
        reject(reason);
        message.destroy();
      };
      const deadline = (what: string, ms: number) =>
        setTimeout(() => {
          giveUp(new ConnectionFault('ETIMEDOUT', `no ${what} for ${ms / 1000} s`));
        }, ms);
      let timer = deadline('connection', connectTimeoutMs);
      const abort = () => giveUp(signal?.reason);
      const settle = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
      };
      signal?.addEventListener('abort', abort, { once: true });
      message
        .once('socket', (socket) =>
          whenConnected(socket, { url, isReused: message.reusedSocket }, () => {
            // Given up meanwhile: there is no deadline any more.
            if (message.destroyed) return;
            clearTimeout(timer);
            timer = deadline('head', headersTimeoutMs);
          }),
        )
        .once('response', (response) => {
          settle();
          resolve({
            status: response.statusCode ?? 0,
            headers: headersOf(response),
            body: new StreamBody(response, { idleTimeoutMs: bodyIdleTimeoutMs, signal }),
          });
        })
        // Later ones as well, which the body tells.
        .on('error', (error) => {
          settle();
          reject(error);
        })
        .end(body);
    });
  }
}

function whenConnected(
  socket: Socket,
  { url, isReused }: { readonly url: URL; readonly isReused: boolean },
  action: () => void,
): void {
  if (isReused) action();
  else if (url.protocol === 'https:') socket.once('secureConnect', action);
  else if (socket.connecting) socket.once('connect', action);
  else action();
}

function headersOf({ headersDistinct }: IncomingMessage): ResponseHeaders {
  return Object.fromEntries(
    Object.entries(headersDistinct).map(([name, values]) => [
      name,
      values?.length === 1 ? values[0] : values,
    ]),
  );
}
