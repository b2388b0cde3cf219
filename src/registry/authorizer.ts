import { basicAuthorization, type Credential } from '../auth/credential.js';
import { SingleFlight } from '../single-flight.js';
import { type Challenge, parseChallenges } from './challenge.js';
import { RegistryError } from './registry-error.js';
import { fetchToken, type Token, unionOfScopes } from './token.js';
import type { Transport, TransportResponse } from './transport.js';

/** Value for the Authorization header. */
export interface Authorization {
  readonly value: string;
  /** Made for this very challenge: when it is refused, another one would be too. */
  readonly isFresh: boolean;
}

export interface AuthorizerOptions {
  readonly transport: Transport;
  /** `https://registry-1.docker.io` */
  readonly registryOrigin: string;
  readonly credential: Credential | undefined;
  /** Sent with every request to the registry's origin, so also with those for tokens there. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/**
 * Answers the challenges of one registry with one credential (or none), and remembers the answers: a Basic header for the host, one
 * token for each set of scopes. Parallel requests share one token fetch.
 */
export class Authorizer {
  readonly #options: AuthorizerOptions;
  readonly #tokens = new Map<string, Token>();
  readonly #fetches = new SingleFlight<Token>();
  #bearer: Challenge | undefined;
  #basic: string | undefined;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
  }

  /** What earlier answers allow to send at once; undefined before the first challenge and when the token has run out. */
  remembered(scopes: readonly string[]): Authorization | undefined {
    if (this.#basic !== undefined) return { value: this.#basic, isFresh: true };
    if (this.#bearer === undefined) return undefined;
    const token = this.#tokens.get(keyOf(this.#bearer, scopes));
    if (token === undefined || token.expiresAtMs <= Date.now()) return undefined;
    return { value: `Bearer ${token.value}`, isFresh: false };
  }

  /**
   * Answers the challenge of a 401. `refused` is what was sent with the refused request: it is not used again.
   * @throws RegistryError `UNAUTHORIZED` when the challenge needs a credential that is not there.
   */
  async answer(
    response: TransportResponse,
    {
      scopes,
      refused,
      what,
      signal,
    }: {
      readonly scopes: readonly string[];
      readonly refused: Authorization | undefined;
      readonly what: string;
      readonly signal?: AbortSignal | undefined;
    },
  ): Promise<Authorization> {
    const header = response.headers['www-authenticate'] ?? [];
    const challenges = (Array.isArray(header) ? header : [header]).flatMap(parseChallenges);
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    if (bearer !== undefined) return this.#answerBearer(bearer, { scopes, refused, signal });
    if (challenges.some(({ scheme }) => scheme === 'basic')) return this.#answerBasic(what);
    const schemes = challenges.map(({ scheme }) => scheme).join(', ') || 'none';
    throw new RegistryError(
      'UNAUTHORIZED',
      `${what}: ${response.host} asks for an authentication that cais does not know (${schemes.slice(0, 100)})`,
      { status: 401 },
    );
  }

  async #answerBearer(
    challenge: Challenge,
    {
      scopes,
      refused,
      signal,
    }: {
      readonly scopes: readonly string[];
      readonly refused: Authorization | undefined;
      readonly signal: AbortSignal | undefined;
    },
  ): Promise<Authorization> {
    const { transport, registryOrigin, credential, headers } = this.#options;
    this.#bearer = challenge;
    const key = keyOf(challenge, scopes);
    const remembered = this.remembered(scopes);
    if (remembered !== undefined && remembered.value !== refused?.value) return remembered;
    this.#tokens.delete(key);
    const token = await this.#fetches.run(
      key,
      (shared) =>
        fetchToken(transport, {
          challenge,
          scopes,
          registryOrigin,
          credential,
          headers,
          signal: shared,
        }),
      { signal },
    );
    this.#tokens.set(key, token);
    return { value: `Bearer ${token.value}`, isFresh: true };
  }

  #answerBasic(what: string): Authorization {
    const secret = this.#options.credential?.reveal();
    if (secret?.kind !== 'password') {
      throw new RegistryError(
        'UNAUTHORIZED',
        `${what}: no basic auth credentials for ${new URL(this.#options.registryOrigin).host}; log in first`,
        { status: 401 },
      );
    }
    this.#basic = basicAuthorization(secret.username, secret.password);
    return { value: this.#basic, isFresh: true };
  }
}

function keyOf(challenge: Challenge, scopes: readonly string[]): string {
  const { parameters } = challenge;
  return [
    parameters.get('realm'),
    parameters.get('service'),
    ...unionOfScopes(challenge, scopes),
  ].join('\n');
}
