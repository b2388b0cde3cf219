import { setTimeout as delay } from 'node:timers/promises';
import type { BlobConnectionPool } from './blob-connection-pool.js';
import type { BlobTlsOptions } from './blob-socket.js';
import { ConnectionFault, isBrokenConnection } from './connection-fault.js';
import type { ConnectionSettings } from './connection-settings.js';
import { allowsPlainHttp, isLocalOnlyHost } from './hosts.js';
import type { HttpClient } from './http-client.js';
import { RegistryError } from './registry-error.js';
import type { ResponseBody } from './response-body.js';
import { ResponseHeadError, type ResponseHeaders } from './response-head.js';

export interface TransportOptions {
  /** Registries that speak plain HTTP; loopback ones need no entry. */
  readonly insecureRegistries: readonly string[];
  readonly userAgent: string;
  /** Attempts for one request, the first included. */
  readonly maxAttempts: number;
  /** First pause before another attempt; doubles with each, with jitter. */
  readonly retryDelayMs: number;
  /** Upper bound of any pause, also of one that the registry asks for by Retry-After. */
  readonly maxRetryDelayMs: number;
  readonly connectTimeoutMs: number;
  /** Longest wait for the head of an answer. */
  readonly headersTimeoutMs: number;
  /** Longest wait for the next byte of a body. */
  readonly bodyIdleTimeoutMs: number;
  /** TLS and proxy of one host; undefined: those of the machine. */
  readonly connection?: ConnectionSettings | undefined;
}

export const DEFAULT_TRANSPORT_OPTIONS: TransportOptions = {
  insecureRegistries: [],
  userAgent: 'cais',
  maxAttempts: 5,
  retryDelayMs: 500,
  maxRetryDelayMs: 60_000,
  connectTimeoutMs: 15_000,
  headersTimeoutMs: 60_000,
  bodyIdleTimeoutMs: 60_000,
};

export interface TransportRequest {
  readonly method: 'GET' | 'HEAD' | 'POST';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
  /** What is fetched, for errors: `Cannot pull "x": manifest`. */
  readonly what: string;
  readonly signal?: AbortSignal | undefined;
  /** Headers, in lower case, for the origin of `url` and no other: no redirect takes them along. */
  readonly ownHeaders?: Readonly<Record<string, string>> | undefined;
  /** Another host may be asked instead: only a connection that broke is tried once more, and nothing is waited for. */
  readonly hasAlternative?: boolean | undefined;
}

export interface TransportResponse {
  readonly status: number;
  readonly headers: ResponseHeaders;
  /** Host that answered in the end, after redirects. */
  readonly host: string;
  /** The caller pours or discards it. */
  readonly body: ResponseBody;
}

/** Sends one request, once, to where it says. */
type Exchange = (request: TransportRequest) => Promise<TransportResponse>;

const MAX_REDIRECTS = 10;
const REDIRECT_STATUSES = new Set([301, 302, 303, 307, 308]);
const RETRY_STATUSES = new Set([408, 429, 500, 502, 503, 504]);
/** Faults that another attempt may cure; a refused certificate or an unknown name is none of them. */
const TRANSIENT_CODES = new Set([
  'ECONNRESET',
  'ECONNREFUSED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EAI_AGAIN',
]);

/**
 * HTTP for registries: pooled connections, deadlines, redirects and retries. Knows nothing of credentials but that they
 * never follow a redirect to another origin.
 */
export class Transport {
  readonly #options: TransportOptions;
  readonly #openClient: (proxy: URL | undefined) => HttpClient;
  readonly #environmentProxy: (url: URL) => URL | undefined;
  readonly #blobs: BlobConnectionPool;
  /** By the address of the proxy; "": without one. */
  readonly #clients = new Map<string, HttpClient>();

  private constructor(
    options: TransportOptions,
    parts: {
      readonly blobs: BlobConnectionPool;
      readonly openClient: (proxy: URL | undefined) => HttpClient;
      readonly environmentProxy: (url: URL) => URL | undefined;
    },
  ) {
    this.#options = options;
    this.#openClient = parts.openClient;
    this.#environmentProxy = parts.environmentProxy;
    this.#blobs = parts.blobs;
  }

  /** Loads the HTTP clients (slow to load, so not before it is needed). `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` are honoured but for loopback hosts. */
  static async open(options: Partial<TransportOptions> = {}): Promise<Transport> {
    const [{ HttpClient }, { BlobConnectionPool }, environmentProxy] = await Promise.all([
      import('./http-client.js'),
      import('./blob-connection-pool.js'),
      openEnvironmentProxy(),
    ]);
    const merged = { ...DEFAULT_TRANSPORT_OPTIONS, ...options };
    const settings = { ...merged, tls: tlsOptions(merged.connection) };
    return new Transport(merged, {
      blobs: new BlobConnectionPool(settings),
      openClient: (proxy) => new HttpClient({ ...settings, proxy }),
      environmentProxy,
    });
  }

  /** A transport for a host with settings of its own; the caller closes it. */
  withConnection(connection: ConnectionSettings): Promise<Transport> {
    const connectTimeoutMs = connection.connectTimeoutMs ?? this.#options.connectTimeoutMs;
    return Transport.open({ ...this.#options, connectTimeoutMs, connection });
  }

  get insecureRegistries(): readonly string[] {
    return this.#options.insecureRegistries;
  }

  /**
   * Sends a request and returns the final answer, whatever its status: redirects are followed, and after 408, 429, 5xx and
   * faults of the connection the request is sent again.
   * @throws RegistryError `UNAVAILABLE`, `TIMED_OUT` or `BAD_RESPONSE`; the reason of `signal`.
   */
  send(request: TransportRequest): Promise<TransportResponse> {
    return this.#deliver(request, (hop) => this.#exchange(hop));
  }

  /** As {@link send}, for a GET whose answer may be large: its body costs little to pour. */
  sendForBlob(request: Omit<TransportRequest, 'method' | 'body'>): Promise<TransportResponse> {
    return this.#deliver({ ...request, method: 'GET' }, (hop) => this.#exchangeForBlob(hop));
  }

  /** Closes the idle connections and cuts those in use. */
  async close(): Promise<void> {
    this.#blobs.close();
    for (const client of this.#clients.values()) client.close();
  }

  async #deliver(request: TransportRequest, exchange: Exchange): Promise<TransportResponse> {
    for (let attempt = 1; ; attempt++) {
      const { hasAlternative = false } = request;
      const isLast = attempt >= (hasAlternative ? 2 : this.#options.maxAttempts);
      let pauseMs: number;
      try {
        const response = await this.#follow(request, exchange);
        if (isLast || hasAlternative || !RETRY_STATUSES.has(response.status)) return response;
        await response.body.discard();
        pauseMs = this.#pauseMs(attempt, response.headers['retry-after']);
      } catch (error) {
        request.signal?.throwIfAborted();
        const mayHelp = hasAlternative ? isBrokenConnection(error) : isTransientFault(error);
        if (isLast || !mayHelp) throw connectionError(request, error);
        pauseMs = this.#pauseMs(attempt, undefined);
      }
      await delay(pauseMs, undefined, { signal: request.signal }).catch(() =>
        request.signal?.throwIfAborted(),
      );
    }
  }

  async #follow(request: TransportRequest, exchange: Exchange): Promise<TransportResponse> {
    let { url, method, body } = request;
    let headers = { ...request.ownHeaders, ...request.headers };
    for (let redirects = 0; ; redirects++) {
      const response = await exchange({ ...request, url, method, headers, body });
      const location = response.headers['location'];
      if (!REDIRECT_STATUSES.has(response.status) || typeof location !== 'string') return response;
      await response.body.discard();
      if (redirects >= MAX_REDIRECTS) {
        throw new RegistryError(
          'BAD_RESPONSE',
          `${request.what}: more than ${MAX_REDIRECTS} redirects from ${request.url.host}`,
        );
      }
      const target = this.#redirectTarget(request, { from: url, location });
      if (target.origin !== url.origin) {
        // Also on the way back: what a redirect says is no reason to send more.
        headers = withoutCredentials(request.headers);
      }
      if (response.status === 303 || (response.status < 303 && method === 'POST')) {
        method = method === 'HEAD' ? 'HEAD' : 'GET';
        body = undefined;
      } else if (method === 'POST' && target.origin !== url.origin) {
        // The body of a token request is a credential.
        throw new RegistryError(
          'BAD_RESPONSE',
          `${request.what}: ${url.host} redirects a request with credentials to ${target.host}`,
        );
      }
      url = target;
    }
  }

  /** Refuses targets that would weaken the request: no downgrade to plain HTTP, no way from outside to addresses of this machine. */
  #redirectTarget(
    request: TransportRequest,
    { from, location }: { from: URL; location: string },
  ): URL {
    const refuse = (why: string) =>
      new RegistryError('BAD_RESPONSE', `${request.what}: ${from.host} redirects ${why}`);
    let target: URL;
    try {
      target = new URL(location, from);
    } catch {
      throw refuse('to an address that is no URL');
    }
    if (target.protocol !== 'https:' && target.protocol !== 'http:') {
      throw refuse(`to the scheme "${target.protocol.slice(0, 20)}"`);
    }
    if (target.username !== '' || target.password !== '')
      throw refuse('to an address with credentials');
    const isDowngrade = target.protocol === 'http:' && from.protocol === 'https:';
    if (isDowngrade && !allowsPlainHttp(target, this.#options.insecureRegistries)) {
      throw refuse(
        `from HTTPS to plain HTTP on ${target.host}; add it to insecureRegistries if you trust the way there`,
      );
    }
    if (isLocalOnlyHost(target.hostname) && !isLocalOnlyHost(from.hostname)) {
      throw refuse(`to ${target.host}, an address of this machine`);
    }
    return target;
  }

  async #exchange(request: TransportRequest): Promise<TransportResponse> {
    const { url, method, body, signal } = request;
    const headers = this.#headersOf(request);
    const answer = await this.#clientFor(url).send({ url, method, headers, body, signal });
    return { ...answer, host: url.host };
  }

  async #exchangeForBlob(request: TransportRequest): Promise<TransportResponse> {
    const { url, signal } = request;
    if (this.#proxyFor(url) === undefined) {
      const answer = await this.#blobs.get({ url, headers: this.#headersOf(request), signal });
      if (answer !== undefined) return { ...answer, host: url.host };
    }
    // By a proxy, or of another form than most: node's client knows all of it.
    return this.#exchange(request);
  }

  #headersOf({ headers }: TransportRequest): Record<string, string> {
    return { 'user-agent': this.#options.userAgent, ...headers };
  }

  #clientFor(url: URL): HttpClient {
    const proxy = this.#proxyFor(url);
    const key = proxy?.href ?? '';
    const client = this.#clients.get(key) ?? this.#openClient(proxy);
    this.#clients.set(key, client);
    return client;
  }

  /** @throws ConnectionFault `EINVAL` for a proxy that does not speak HTTP. */
  #proxyFor(url: URL): URL | undefined {
    const own = this.#options.connection?.proxy;
    if (own !== undefined) return own;
    return isLocalOnlyHost(url.hostname) ? undefined : this.#environmentProxy(url);
  }

  #pauseMs(attempt: number, retryAfter: string | string[] | undefined): number {
    const asked = parseRetryAfter(retryAfter);
    const { retryDelayMs, maxRetryDelayMs } = this.#options;
    // Jitter keeps many machines from coming back at the same moment.
    const own = retryDelayMs * 2 ** (attempt - 1) * (0.75 + Math.random() / 2);
    return Math.min(asked ?? own, maxRetryDelayMs);
  }
}

/** Milliseconds that `Retry-After` asks for: seconds or an HTTP date; undefined when there is none that makes sense. */
export function parseRetryAfter(value: string | string[] | undefined): number | undefined {
  const text = (Array.isArray(value) ? value[0] : value)?.trim();
  if (text === undefined || text === '') return undefined;
  if (/^[0-9]{1,9}$/.test(text)) return Number(text) * 1000;
  // Date.parse takes almost anything; an HTTP date begins with the name of a day.
  const date = /^[A-Z][a-z]{2}/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(date - Date.now(), 0);
}

/** Whether the fault is one of the way to the registry, so that the same request may succeed later. */
export function isTransientFault(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code === 'string' && TRANSIENT_CODES.has(code)) return true;
  // Several addresses were tried, and each failed (happy eyeballs).
  return error instanceof AggregateError && error.errors.some(isTransientFault);
}

/** What the environment says about the proxy of a URL. */
async function openEnvironmentProxy(): Promise<(url: URL) => URL | undefined> {
  const { HTTP_PROXY, HTTPS_PROXY, http_proxy, https_proxy } = process.env;
  const hasProxy = [HTTP_PROXY, HTTPS_PROXY, http_proxy, https_proxy].some(Boolean);
  if (!hasProxy) return () => undefined;
  const { getProxyForUrl } = await import('proxy-from-env');
  return (url) => {
    const address = getProxyForUrl(url.href);
    if (address === '') return undefined;
    // "proxy.example:3128": curl and Go speak plain HTTP to it; the library takes the scheme of `url`.
    const bare = [HTTP_PROXY, HTTPS_PROXY, http_proxy, https_proxy].find(
      (value) => value && !value.includes('://') && address.endsWith(`://${value}`),
    );
    const text = bare === undefined ? address : `http://${bare}`;
    const proxy = URL.canParse(text) ? new URL(text) : undefined;
    if (proxy?.protocol === 'http:' || proxy?.protocol === 'https:') return proxy;
    // The value may hold a credential.
    throw new ConnectionFault(
      'EINVAL',
      `the proxy that the environment names for ${url.protocol}// is no http:// or https:// address`,
    );
  };
}

function tlsOptions(connection: ConnectionSettings | undefined): BlobTlsOptions {
  if (connection === undefined) return {};
  const { secureContext, verifiesCertificates } = connection;
  return {
    ...(secureContext === undefined ? {} : { secureContext }),
    ...(verifiesCertificates ? {} : { rejectUnauthorized: false }),
  };
}

/** Turns a fault of the connection into the error for the caller. A RegistryError stays what it is. */
export function connectionError(
  request: { readonly what: string; readonly url: URL },
  error: unknown,
): RegistryError {
  if (error instanceof RegistryError) return error;
  const code = String((error as { code?: unknown } | null)?.code ?? '');
  // HPE_: of node's parser of HTTP.
  if (error instanceof ResponseHeadError || (error instanceof Error && code.startsWith('HPE_'))) {
    const problem = `${request.what}: bad answer from ${request.url.host}: ${error.message}`;
    return new RegistryError('BAD_RESPONSE', problem, { cause: error });
  }
  const timedOut = code.endsWith('TIMEOUT') || code === 'ETIMEDOUT';
  const text =
    error instanceof Error && error.message !== '' ? error.message : code || 'unknown fault';
  return new RegistryError(
    timedOut ? 'TIMED_OUT' : 'UNAVAILABLE',
    `${request.what}: no answer from ${request.url.host}: ${text}`,
    { cause: error },
  );
}

function withoutCredentials(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).filter(
      ([name]) => !['authorization', 'cookie'].includes(name.toLowerCase()),
    ),
  );
}
