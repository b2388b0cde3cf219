import { InvalidArgumentError } from '../errors.js';
import type { Credential } from './credential.js';
import { getFromHelper } from './credential-helper.js';
import type { DockerConfig } from './docker-config.js';

const DOCKER_HUB_KEY = 'index.docker.io';
/** What helpers and `config.json` call Docker Hub. */
const DOCKER_HUB_SERVER = 'https://index.docker.io/v1/';

/**
 * What a person writes for a registry at `login`: the host in references, and the key in `config.json`.
 * @throws InvalidArgumentError when it is no host.
 */
export function serverKey(registry: string): { readonly domain: string; readonly server: string } {
  const host = normalizeKey(registry);
  const isHub = ['docker.io', 'index.docker.io', 'registry-1.docker.io'].includes(host);
  if (isHub) return { domain: 'docker.io', server: DOCKER_HUB_SERVER };
  if (!/^(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?$/.test(host)) {
    throw new InvalidArgumentError(
      `Invalid registry ${JSON.stringify(registry.slice(0, 200))}: expected a host such as registry.example:5000`,
    );
  }
  return { domain: host, server: host };
}

/** Finds the credentials that may pull a repository. */
export interface Keyring {
  /** Candidates, best first, to be tried one after the other; empty: pull anonymously. `repository` is normalised, without tag. */
  lookup(
    repository: string,
    options?: { readonly signal?: AbortSignal },
  ): Promise<readonly Credential[]>;
}

/** The keyring of a machine: one Docker configuration, read when a pull asks, with its helpers. */
export class DockerConfigKeyring implements Keyring {
  readonly #read: () => Promise<DockerConfig | undefined>;

  constructor(read: () => Promise<DockerConfig | undefined>) {
    this.#read = read;
  }

  /** `credHelpers` of the host, else matching `auths`, else `credsStore` (contract D12). */
  async lookup(
    repository: string,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<readonly Credential[]> {
    const config = await this.#read();
    if (config === undefined) return [];
    const host = repository.split('/', 1)[0] ?? '';
    const server = host === 'docker.io' ? DOCKER_HUB_SERVER : host;
    const helper = config.credentialHelpers.get(server) ?? config.credentialHelpers.get(host);
    if (helper !== undefined) return present(await getFromHelper(helper, server, { signal }));
    const matching = matchKeys(config.auths, repository);
    if (matching.length > 0 || config.credentialStore === undefined) return matching;
    return present(await getFromHelper(config.credentialStore, server, { signal }));
  }
}

/**
 * Entries whose key matches a repository, most specific first.
 * @see contracts/kubernetes-semantics.md D13 to D19
 */
export function matchKeys(
  auths: ReadonlyMap<string, Credential>,
  repository: string,
): Credential[] {
  const entries = [...auths].map(([server, credential]) => ({
    key: normalizeKey(server),
    credential,
  }));
  const matching = entries.filter(({ key }) => keyMatches(key, repository));
  // Reverse byte order: longer keys with the same prefix first, literal characters before `*`. Sorting is stable.
  matching.sort((a, b) => Buffer.compare(Buffer.from(b.key), Buffer.from(a.key)));
  if (matching.length === 0 && /^(?:index\.)?docker\.io\//.test(repository)) {
    return entries.filter(({ key }) => key === DOCKER_HUB_KEY).map(({ credential }) => credential);
  }
  return matching.map(({ credential }) => credential);
}

/** `https://index.docker.io/v1/` → `index.docker.io`: scheme gone, the API's version gone from the start of the path. */
export function normalizeKey(server: string): string {
  const bare = server.replace(/^https?:\/\//, '');
  const slash = bare.indexOf('/');
  if (slash === -1) return bare;
  const path = bare.slice(slash).replace(/^\/v[12](?=\/)/, '');
  return bare.slice(0, slash) + (path === '/' ? '' : path);
}

function keyMatches(key: string, repository: string): boolean {
  const wanted = splitKey(repository);
  const offered = splitKey(key);
  if (wanted.port !== offered.port || !wanted.path.startsWith(offered.path)) return false;
  const wantedParts = wanted.host.split('.');
  const offeredParts = offered.host.split('.');
  return (
    wantedParts.length === offeredParts.length &&
    offeredParts.every((part, i) => globMatches(part, wantedParts[i] ?? ''))
  );
}

function splitKey(key: string): { host: string; port: string; path: string } {
  const slash = key.indexOf('/');
  const authority = slash === -1 ? key : key.slice(0, slash);
  const port = /:[0-9]+$/.exec(authority)?.[0] ?? '';
  return {
    host: authority.slice(0, authority.length - port.length),
    port,
    path: slash === -1 ? '' : key.slice(slash),
  };
}

/** Shell glob within one label: `*`, `?`, `[…]`. Linear with one point of return, so hostile patterns cost nothing. */
function globMatches(pattern: string, text: string): boolean {
  const tokens = globTokens(pattern);
  if (tokens === undefined) return false;
  let [token, position, starToken, starPosition] = [0, 0, -1, 0];
  while (position < text.length) {
    const current = tokens[token];
    if (current === '*') {
      [starToken, starPosition] = [token++, position];
    } else if (current?.(text[position] as string)) {
      token++;
      position++;
    } else if (starToken !== -1) {
      token = starToken + 1;
      position = ++starPosition;
    } else return false;
  }
  while (tokens[token] === '*') token++;
  return token === tokens.length;
}

type GlobToken = '*' | ((character: string) => boolean);

/** Undefined when the pattern is malformed: then it matches nothing. */
function globTokens(pattern: string): GlobToken[] | undefined {
  const tokens: GlobToken[] = [];
  for (const [text, group] of pattern.matchAll(/\[(\^?[^\]]+)\]|[\s\S]/g)) {
    if (group !== undefined) tokens.push(characterClass(group));
    else if (text === '[') return undefined;
    else if (text === '*') tokens.push('*');
    else if (text === '?') tokens.push(() => true);
    else tokens.push((character) => character === text);
  }
  return tokens;
}

function characterClass(group: string): (character: string) => boolean {
  const isNegated = group.startsWith('^');
  const ranges = [...(isNegated ? group.slice(1) : group).matchAll(/([\s\S])-([\s\S])|([\s\S])/g)];
  return (character) =>
    isNegated !==
    ranges.some(([, low, high, single]) =>
      single === undefined
        ? character >= (low ?? '') && character <= (high ?? '')
        : character === single,
    );
}

function present(credential: Credential | undefined): Credential[] {
  return credential === undefined ? [] : [credential];
}
