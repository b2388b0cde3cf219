import { basicAuthorization, type Credential, type Secret } from '../auth/credential.js';
import type { Challenge } from './challenge.js';
import { allowsPlainHttp } from './hosts.js';
import { errorForStatus, parseErrorBody, RegistryError } from './registry-error.js';
import { readBounded } from './response-body.js';
import type { Transport, TransportResponse } from './transport.js';

export interface TokenRequest {
  readonly challenge: Challenge;
  /** Scopes wanted beside those of the challenge. */
  readonly scopes: readonly string[];
  /** Origin of the registry that sent the challenge. */
  readonly registryOrigin: string;
  readonly credential: Credential | undefined;
  /** For the registry's own origin. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A bearer token and when to ask for a new one. */
export interface Token {
  readonly value: string;
  readonly expiresAtMs: number;
}

const CLIENT_ID = 'cais';
/** What the token specification says for an answer without `expires_in`. */
const DEFAULT_LIFETIME_SECONDS = 60;
/** Asked for again this long before the end, so that it does not run out on the way. */
const EXPIRY_MARGIN_MS = 5_000;
const MAX_TOKEN_BODY_BYTES = 1 << 20;
/** Token servers without POST answer one of these; then GET with Basic is tried (contract E6). */
const POST_UNSUPPORTED = new Set([400, 401, 404, 405]);

/** Scopes of a challenge and the wanted ones, sorted, each once (contract E4). */
export function unionOfScopes(challenge: Challenge, scopes: readonly string[]): string[] {
  const challenged = challenge.parameters.get('scope')?.split(' ') ?? [];
  return [...new Set([...scopes, ...challenged])].filter((scope) => scope !== '').sort();
}

/**
 * Asks the token server named by a Bearer challenge for a token. Credentials go to that realm only, and over HTTPS unless the
 * registry itself speaks plain HTTP.
 * @throws RegistryError
 * @see distribution, token authentication specification; contracts/kubernetes-semantics.md E3 to E8, E12
 */
export async function fetchToken(transport: Transport, request: TokenRequest): Promise<Token> {
  const realm = realmOf(request);
  const secret = request.credential?.reveal();
  assertMayReceiveCredential(transport, { realm, request });
  const send = new TokenExchange(transport, realm, request);
  if (secret === undefined) return send.get(undefined);
  if (secret.kind === 'registryToken')
    return { value: secret.token, expiresAtMs: Number.POSITIVE_INFINITY };
  return send.post(secret);
}

class TokenExchange {
  readonly #transport: Transport;
  readonly #realm: URL;
  readonly #request: TokenRequest;
  readonly #scopes: readonly string[];
  readonly #service: string | undefined;

  constructor(transport: Transport, realm: URL, request: TokenRequest) {
    this.#transport = transport;
    this.#realm = realm;
    this.#request = request;
    this.#scopes = unionOfScopes(request.challenge, request.scopes);
    this.#service = request.challenge.parameters.get('service');
  }

  async get(authorization: string | undefined): Promise<Token> {
    const url = new URL(this.#realm);
    if (this.#service !== undefined) url.searchParams.set('service', this.#service);
    for (const scope of this.#scopes) url.searchParams.append('scope', scope);
    return this.#read(
      await this.#transport.send({
        method: 'GET',
        url,
        headers: authorization === undefined ? {} : { authorization },
        ownHeaders: this.#ownHeaders,
        what: this.#what,
        signal: this.#request.signal,
      }),
    );
  }

  async post(secret: Exclude<Secret, { kind: 'registryToken' }>): Promise<Token> {
    const form = new URLSearchParams({ client_id: CLIENT_ID, scope: this.#scopes.join(' ') });
    if (this.#service !== undefined) form.set('service', this.#service);
    if (secret.kind === 'password') {
      form.set('grant_type', 'password');
      form.set('username', secret.username);
      form.set('password', secret.password);
    } else {
      form.set('grant_type', 'refresh_token');
      form.set('refresh_token', secret.token);
    }
    const response = await this.#transport.send({
      method: 'POST',
      url: this.#realm,
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      ownHeaders: this.#ownHeaders,
      body: form.toString(),
      what: this.#what,
      signal: this.#request.signal,
    });
    if (secret.kind === 'password' && POST_UNSUPPORTED.has(response.status)) {
      await response.body.discard();
      return this.get(basicAuthorization(secret.username, secret.password));
    }
    return this.#read(response);
  }

  get #ownHeaders(): Readonly<Record<string, string>> | undefined {
    const { headers, registryOrigin } = this.#request;
    return this.#realm.origin === registryOrigin ? headers : undefined;
  }

  get #what(): string {
    return `Cannot get a token from ${this.#realm.host}`;
  }

  async #read(response: TransportResponse): Promise<Token> {
    const { bytes, isComplete } = await readBounded(response.body, MAX_TOKEN_BODY_BYTES);
    const text = bytes.toString('utf8');
    if (response.status !== 200) {
      throw errorForStatus(response.status, {
        what: this.#what,
        host: response.host,
        body: parseErrorBody(text),
      });
    }
    const answer = isComplete ? parseTokenAnswer(text) : undefined;
    if (answer === undefined) {
      // The text itself may hold a token: it stays out of the error.
      throw new RegistryError('BAD_RESPONSE', `${this.#what}: the answer holds no token`);
    }
    const lifetimeMs = answer.lifetimeSeconds * 1000;
    return { value: answer.token, expiresAtMs: Date.now() + lifetimeMs - EXPIRY_MARGIN_MS };
  }
}

function parseTokenAnswer(text: string): { token: string; lifetimeSeconds: number } | undefined {
  let answer: Record<string, unknown> | null;
  try {
    answer = JSON.parse(text) as Record<string, unknown> | null;
  } catch {
    return undefined;
  }
  const token = [answer?.['token'], answer?.['access_token']].find(
    // What cannot stand in a header must not reach one.
    (each): each is string => typeof each === 'string' && /^[\x21-\x7e]+$/.test(each),
  );
  if (token === undefined) return undefined;
  const lifetime = answer?.['expires_in'];
  const isSane = typeof lifetime === 'number' && lifetime > 0 && Number.isFinite(lifetime);
  return { token, lifetimeSeconds: isSane ? lifetime : DEFAULT_LIFETIME_SECONDS };
}

function realmOf({ challenge, registryOrigin }: TokenRequest): URL {
  const text = challenge.parameters.get('realm') ?? '';
  const realm = URL.canParse(text) ? new URL(text) : undefined;
  if (
    realm === undefined ||
    !['http:', 'https:'].includes(realm.protocol) ||
    realm.username !== ''
  ) {
    throw new RegistryError(
      'BAD_RESPONSE',
      `${new URL(registryOrigin).host} asks for a token, but its challenge names no usable realm`,
    );
  }
  return realm;
}

function assertMayReceiveCredential(
  transport: Transport,
  { realm, request }: { readonly realm: URL; readonly request: TokenRequest },
): void {
  if (request.credential === undefined || realm.protocol === 'https:') return;
  const isPlainRegistry = request.registryOrigin.startsWith('http:');
  if (isPlainRegistry || allowsPlainHttp(realm, transport.insecureRegistries)) return;
  throw new RegistryError(
    'BAD_RESPONSE',
    `${new URL(request.registryOrigin).host} asks to send credentials over plain HTTP to ${realm.host}`,
  );
}
