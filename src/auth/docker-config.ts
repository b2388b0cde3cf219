import { readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { makeDirectories } from '../directories.js';
import { InvalidArgumentError } from '../errors.js';
import { Credential } from './credential.js';

/** Credentials of one Docker configuration file. */
export interface DockerConfig {
  /** The file, for messages. */
  readonly path: string;
  /** Server key as written → credential. Entries without any secret are left out. */
  readonly auths: ReadonlyMap<string, Credential>;
  /** Host → name of the helper program after `docker-credential-`. */
  readonly credentialHelpers: ReadonlyMap<string, string>;
  /** Helper for all other hosts. */
  readonly credentialStore: string | undefined;
}

const MAX_CONFIG_BYTES = 4 * 2 ** 20;

/**
 * Parses a `config.json`, or the older `.dockercfg` that is the `auths` map itself.
 * @throws InvalidArgumentError for anything malformed, one bad entry included; the text never shows a secret.
 * @see contracts/kubernetes-semantics.md D7 to D11
 */
export function parseDockerConfig(text: string, path: string): DockerConfig {
  const fail = (reason: string): never => {
    throw new InvalidArgumentError(`Cannot use credentials of "${path}": ${reason}`);
  };
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    // The parser's own message quotes the text.
    return fail('it is no JSON');
  }
  if (!isObject(document)) return fail('it is no JSON object');
  const isLegacy = path.endsWith('.dockercfg');
  const entries = isLegacy ? document : (document['auths'] ?? {});
  if (!isObject(entries)) return fail('"auths" is no object');
  const auths = new Map<string, Credential>();
  for (const [server, entry] of Object.entries(entries)) {
    if (!isObject(entry)) return fail(`the entry of "${server}" is no object`);
    const credential = readEntry(entry, {
      origin: path,
      fail: (reason) => fail(`the entry of "${server}" ${reason}`),
    });
    if (credential !== undefined) auths.set(server, credential);
  }
  const helpers = isLegacy || !isObject(document['credHelpers']) ? {} : document['credHelpers'];
  const store = isLegacy ? undefined : document['credsStore'];
  return {
    path,
    auths,
    credentialHelpers: new Map(
      Object.entries(helpers).filter(
        (helper): helper is [string, string] => typeof helper[1] === 'string',
      ),
    ),
    credentialStore: typeof store === 'string' && store !== '' ? store : undefined,
  };
}

function readEntry(
  entry: Record<string, unknown>,
  { origin, fail }: { readonly origin: string; readonly fail: (reason: string) => never },
): Credential | undefined {
  const field = (name: string): string => {
    const value = entry[name] ?? '';
    return typeof value === 'string' ? value : fail(`has a "${name}" that is no string`);
  };
  const identityToken = field('identitytoken');
  if (identityToken !== '')
    return new Credential({ kind: 'identityToken', token: identityToken }, origin);
  const registryToken = field('registrytoken');
  if (registryToken !== '')
    return new Credential({ kind: 'registryToken', token: registryToken }, origin);
  const auth = field('auth');
  if (auth !== '') {
    const decoded = decodeAuth(auth) ?? fail('has an "auth" that is no base64 of "user:password"');
    return Credential.password(decoded.username, decoded.password, origin);
  }
  const [username, password] = [field('username'), field('password')];
  return username === '' && password === ''
    ? undefined
    : Credential.password(username, password, origin);
}

/** Decodes `base64(user:password)`, padded or not; the password may hold colons. Undefined when it is something else. */
export function decodeAuth(auth: string): { username: string; password: string } | undefined {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(auth)) return undefined;
  const text = Buffer.from(auth, 'base64').toString('utf8').replace(/\0+$/, '');
  const colon = text.indexOf(':');
  if (colon === -1) return undefined;
  return { username: text.slice(0, colon), password: text.slice(colon + 1) };
}

/** Where credentials are looked for, in order; the first usable file is the only one used (contract D1, without the working directory). */
export function dockerConfigPaths(environment: NodeJS.ProcessEnv): string[] {
  const home = environment['HOME'] ?? '/';
  const explicit = environment['DOCKER_CONFIG'];
  return [
    ...(explicit === undefined || explicit === '' ? [] : [join(explicit, 'config.json')]),
    join(home, '.docker', 'config.json'),
    '/.docker/config.json',
    join(home, '.dockercfg'),
    '/.dockercfg',
  ];
}

/** The file that `login` writes. */
export function loginConfigPath(environment: NodeJS.ProcessEnv): string {
  const explicit = environment['DOCKER_CONFIG'];
  if (explicit !== undefined && explicit !== '') return join(explicit, 'config.json');
  return join(environment['HOME'] ?? '/', '.docker', 'config.json');
}

/**
 * Reads the first file that exists and parses; malformed ones are passed over (contract D2, D3). Undefined when there is none.
 */
export async function loadDockerConfig(
  paths: readonly string[] = dockerConfigPaths(process.env),
): Promise<DockerConfig | undefined> {
  // All at once: mostly there is none, and a pull waits for it.
  const texts = await Promise.all(paths.map(readText));
  for (const [i, path] of paths.entries()) {
    const text = texts[i];
    if (text === undefined) continue;
    try {
      return parseDockerConfig(text, path);
    } catch (error) {
      if (!(error instanceof InvalidArgumentError)) throw error;
    }
  }
  return undefined;
}

/**
 * Sets or removes (undefined) the entry of a server; other entries and unknown fields stay. Mode 0600, replaced in one step.
 * @throws InvalidArgumentError when the present file is malformed: it is not overwritten.
 */
export async function updateDockerConfig(
  path: string,
  {
    server,
    auth,
  }: { readonly server: string; readonly auth: { username: string; password: string } | undefined },
): Promise<void> {
  const text = await readText(path);
  if (text !== undefined) parseDockerConfig(text, path);
  const document = text === undefined ? {} : (JSON.parse(text) as Record<string, unknown>);
  const auths = { ...(isObject(document['auths']) ? document['auths'] : {}) };
  if (auth === undefined) delete auths[server];
  else
    auths[server] = { auth: Buffer.from(`${auth.username}:${auth.password}`).toString('base64') };
  await makeDirectories(dirname(path), 0o700);
  const temporary = `${path}.${process.pid}.new`;
  await writeFile(temporary, `${JSON.stringify({ ...document, auths }, null, 2)}\n`, {
    mode: 0o600,
  });
  await rename(temporary, path);
}

async function readText(path: string): Promise<string | undefined> {
  try {
    const bytes = await readFile(path);
    return bytes.byteLength > MAX_CONFIG_BYTES ? undefined : bytes.toString('utf8');
  } catch {
    // Absent or unreadable: the next place is asked.
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
