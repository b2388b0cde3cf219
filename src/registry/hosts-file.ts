import { isAbsolute, join } from 'node:path';
import type * as Toml from 'smol-toml';
import { RuntimeError } from '../errors.js';

/** A file of the registry host configuration cannot be used (`BAD_HOSTS_FILE`); the message names file and key, and shows no header. */
export class HostsFileError extends RuntimeError {
  readonly path: string;

  constructor(path: string, reason: string, cause?: unknown) {
    super('BAD_HOSTS_FILE', `Cannot use "${path}": ${reason}`, { cause });
    this.path = path;
  }
}

/** What a host may be asked for. Pushing is written in these files too, but a runtime does not push. */
export interface HostCapabilities {
  /** Manifests by digest, and blobs. */
  readonly pull: boolean;
  /** What a tag means now: asked only of a host that is trusted not to lie. */
  readonly resolve: boolean;
}

/** A certificate with its key; without a file of its own the key is beside the certificate. */
export interface ClientPair {
  readonly certificatePath: string;
  readonly keyPath: string;
}

/** One host as a `hosts.toml` describes it. Paths are absolute. */
export interface HostEntry {
  /** Where it is: scheme, host and port, and the path of its API. Undefined: where the registry itself is. */
  readonly url: URL | undefined;
  readonly capabilities: HostCapabilities;
  readonly caPaths: readonly string[];
  readonly clientPairs: readonly ClientPair[];
  readonly skipVerify: boolean;
  /** Lower-case names; sent with every request to this host and to no other. */
  readonly headers: Readonly<Record<string, string>>;
  readonly dialTimeoutMs: number | undefined;
  /** Proxy for this host, whatever the environment says. */
  readonly proxy: URL | undefined;
}

/** A parsed `hosts.toml`. */
export interface HostsFile {
  /** Mirrors, in the order of the file. */
  readonly mirrors: readonly HostEntry[];
  /** Asked last. */
  readonly server: HostEntry;
}

export interface HostsFileOptions {
  /** The file, for messages. */
  readonly path: string;
  /** Directory of relative paths inside. */
  readonly directory: string;
  /** `smol-toml`, loaded by the caller when there is a file at all. */
  readonly toml: Pick<typeof Toml, 'parse'>;
}

const ALL_CAPABILITIES: HostCapabilities = { pull: true, resolve: true };
const HOST_KEYS = [
  'capabilities',
  'ca',
  'client',
  'skip_verify',
  'header',
  'override_path',
  'dial_timeout',
  'proxy',
];
const ROOT_KEYS = ['server', 'host', ...HOST_KEYS];
const MAX_HOSTS = 64;
const MAX_PATHS = 64;
const MAX_DIAL_TIMEOUT_MS = 10 * 60_000;
const MAX_HEADER_LENGTH = 16 * 1024;
/** What frames a request is not for a file to say. */
const FRAMING_HEADERS = new Set([
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'upgrade',
  'te',
  'trailer',
  'range',
  'accept-encoding',
]);

/**
 * Parses a `hosts.toml`.
 * @throws HostsFileError for anything malformed and for keys that nobody knows: a misspelt `skip_verify` or `ca` must not be passed over.
 * @see containerd, docs/hosts.md; contracts/kubernetes-semantics.md E34
 */
export function parseHostsFile(text: string, { path, directory, toml }: HostsFileOptions) {
  const document = parseToml(text, { path, toml });
  const root = new TomlTable(document, { path, directory, prefix: '' });
  root.refuseOthers(ROOT_KEYS);
  const hosts = root.table('host');
  const names = hosts?.keys() ?? [];
  if (names.length > MAX_HOSTS) root.fail('host', `at most ${MAX_HOSTS} tables`);
  const mirrors = names.map((name) => {
    const table = hosts?.table(name) ?? root.fail('host', 'tables');
    table.refuseOthers(HOST_KEYS);
    return readEntry(table, readUrl(table, { text: name, key: undefined }));
  });
  const server = root.string('server');
  const url = server === undefined ? undefined : readUrl(root, { text: server, key: 'server' });
  return { mirrors, server: readEntry(root, url) } satisfies HostsFile;
}

function parseToml(
  text: string,
  { path, toml }: Pick<HostsFileOptions, 'path' | 'toml'>,
): Record<string, unknown> {
  try {
    return toml.parse(text, { maxDepth: 20 });
  } catch (error) {
    const { message, line } = error as { message?: unknown; line?: unknown };
    // The parser's message goes on with the lines around, which may hold a secret.
    const reason = String(message).split('\n', 1)[0] ?? '';
    const place = typeof line === 'number' ? `line ${line}: ` : '';
    throw new HostsFileError(path, `${place}${reason}`);
  }
}

function readEntry(table: TomlTable, url: URL | undefined): HostEntry {
  return {
    url,
    capabilities: readCapabilities(table),
    caPaths: table.strings('ca').map((each) => table.path(each)),
    clientPairs: readClientPairs(table),
    skipVerify: table.boolean('skip_verify') ?? false,
    headers: readHeaders(table),
    dialTimeoutMs: readDuration(table, 'dial_timeout'),
    proxy: readProxy(table),
  };
}

/** `https://host[:port][/path]`, or without a scheme, which means HTTPS. The path gets the version of the API unless it may not. */
function readUrl(
  table: TomlTable,
  { text, key }: { readonly text: string; readonly key: string | undefined },
): URL {
  const fail = (): never =>
    table.fail(key, `an address such as https://mirror.example:5000, not ${shown(text)}`);
  // A bare number would be read as an address in one piece, a bare word with a colon as a scheme.
  if (/^[0-9]*$/.test(text) || text.length > 1000) fail();
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `https://${text}`;
  const url = URL.canParse(full) ? new URL(full) : fail();
  const isPlace = url.search === '' && url.hash === '' && url.username === '' && !url.password;
  if (!['http:', 'https:'].includes(url.protocol) || url.host === '' || !isPlace) fail();
  const path = url.pathname.replace(/\/+$/, '');
  const isWhole = table.boolean('override_path') === true || path.endsWith('/v2');
  url.pathname = isWhole ? path : `${path}/v2`;
  return url;
}

function readCapabilities(table: TomlTable): HostCapabilities {
  const words = table.strings('capabilities').map((word) => word.toLowerCase());
  const unknown = words.find((word) => !['pull', 'resolve', 'push'].includes(word));
  if (unknown !== undefined) {
    table.fail('capabilities', `"pull", "resolve" and "push", not ${shown(unknown)}`);
  }
  if (words.length === 0) return ALL_CAPABILITIES;
  return { pull: words.includes('pull'), resolve: words.includes('resolve') };
}

function readClientPairs(table: TomlTable): ClientPair[] {
  const expected = 'a path, a list of paths, or a list of pairs of paths';
  const value = table.value('client');
  if (value === undefined) return [];
  const items: unknown[] = Array.isArray(value) ? value : [value];
  if (items.length > MAX_PATHS) table.fail('client', `at most ${MAX_PATHS} entries`);
  return items.map((item) => {
    const [certificate, key = '', ...more] = (Array.isArray(item) ? item : [item]) as unknown[];
    if (typeof certificate !== 'string' || typeof key !== 'string' || more.length > 0) {
      return table.fail('client', expected);
    }
    const certificatePath = table.path(certificate);
    return { certificatePath, keyPath: key === '' ? certificatePath : table.path(key) };
  });
}

function readHeaders(table: TomlTable): Record<string, string> {
  const headers = table.table('header');
  const result: Record<string, string> = {};
  for (const name of headers?.keys() ?? []) {
    const values = headers?.strings(name) ?? [];
    const value = values.join(', ');
    const lower = name.toLowerCase();
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name) || FRAMING_HEADERS.has(lower)) {
      headers?.fail(undefined, `a header that a file may set, not ${shown(name)}`);
    }
    if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value) || value.length > MAX_HEADER_LENGTH) {
      // The value may be a secret.
      headers?.fail(name, 'text that can stand in a header');
    }
    result[lower] = value;
  }
  return result;
}

/** A duration as Go writes it: `1s`, `1m30s`, `500ms`. */
function readDuration(table: TomlTable, key: string): number | undefined {
  const text = table.string(key);
  if (text === undefined || text === '') return undefined;
  const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
  const isDuration = /^(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|s|m|h))+$/.test(text);
  let milliseconds = 0;
  for (const [, amount, unit = ''] of text.matchAll(/([0-9.]+)(ms|s|m|h)/g)) {
    milliseconds += Number(amount) * (units[unit] ?? 0);
  }
  if (!isDuration || text.length > 40 || milliseconds <= 0 || milliseconds > MAX_DIAL_TIMEOUT_MS) {
    return table.fail(key, `a duration such as "5s", at most 10m, not ${shown(text)}`);
  }
  return Math.ceil(milliseconds);
}

function readProxy(table: TomlTable): URL | undefined {
  const text = table.string('proxy');
  if (text === undefined) return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isProxy =
    url !== undefined &&
    ['http:', 'https:'].includes(url.protocol) &&
    url.host !== '' &&
    url.pathname === '/' &&
    url.search === '' &&
    url.hash === '';
  // Not shown: it may hold a password.
  return isProxy ? url : table.fail('proxy', 'the http:// or https:// address of a proxy');
}

/** Typed access to one table of the file. */
class TomlTable {
  readonly #table: Readonly<Record<string, unknown>>;
  readonly #place: {
    readonly path: string;
    readonly directory: string;
    readonly prefix: string;
  };

  constructor(
    table: Readonly<Record<string, unknown>>,
    place: { readonly path: string; readonly directory: string; readonly prefix: string },
  ) {
    this.#table = table;
    this.#place = place;
  }

  /** @throws HostsFileError always */
  fail(key: string | undefined, expected: string): never {
    const { path, prefix } = this.#place;
    const name = `${prefix}${key ?? ''}`.replace(/\.$/, '').slice(0, 300);
    throw new HostsFileError(path, `key ${JSON.stringify(name)}: expected ${expected}`);
  }

  keys(): string[] {
    return Object.keys(this.#table);
  }

  refuseOthers(known: readonly string[]): void {
    const unknown = this.keys().find((key) => !known.includes(key));
    if (unknown === undefined) return;
    const { path, prefix } = this.#place;
    const name = JSON.stringify(`${prefix}${unknown}`.slice(0, 300));
    throw new HostsFileError(path, `unknown key ${name}; known here: ${known.join(', ')}`);
  }

  value(key: string): unknown {
    return Object.hasOwn(this.#table, key) ? this.#table[key] : undefined;
  }

  string(key: string): string | undefined {
    const value = this.value(key);
    return value === undefined || typeof value === 'string'
      ? value
      : this.fail(key, 'a string in quotes');
  }

  boolean(key: string): boolean | undefined {
    const value = this.value(key);
    return value === undefined || typeof value === 'boolean'
      ? value
      : this.fail(key, 'true or false');
  }

  /** One string, or a list of them. */
  strings(key: string): string[] {
    const value = this.value(key) ?? [];
    const items: unknown[] = Array.isArray(value) ? value : [value];
    if (items.length > MAX_PATHS || !items.every((item) => typeof item === 'string')) {
      return this.fail(key, `a string or a list of at most ${MAX_PATHS} strings`);
    }
    return items;
  }

  table(key: string): TomlTable | undefined {
    const value = this.value(key);
    if (value === undefined) return undefined;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return this.fail(key, 'a table');
    }
    const prefix = `${this.#place.prefix}${key}.`;
    return new TomlTable(value as Record<string, unknown>, { ...this.#place, prefix });
  }

  path(text: string): string {
    if (text === '' || text.includes('\0')) this.fail(undefined, 'paths of files');
    return isAbsolute(text) ? text : join(this.#place.directory, text);
  }
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
