import { type Digest, isDigest } from './digest.js';
import { InvalidArgumentError } from './errors.js';

/** A normalised image reference: where the repository is, and which image in it. */
export interface Reference {
  /** Registry host with optional port, as written (`docker.io` when none was). */
  readonly domain: string;
  /** Repository below the host, with `library/` where Docker Hub implies it. */
  readonly path: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

/**
 * The text is no image reference (`INVALID_ARGUMENT`). `reason` is one of the texts that Docker and the kubelet print
 * (contract A9 to A12, and two for digests); pod events quote it.
 */
export class InvalidReferenceError extends InvalidArgumentError {
  readonly reason: string;

  constructor(text: string, reason: string) {
    super(`Invalid image reference ${quote(text)}: ${reason}`);
    this.reason = reason;
  }
}

const DEFAULT_DOMAIN = 'docker.io';
const LEGACY_DEFAULT_DOMAIN = 'index.docker.io';
const OFFICIAL_PREFIX = 'library/';
const DEFAULT_TAG = 'latest';
const MAX_PATH_LENGTH = 255;
/** DNS names end at 253 characters; the bound keeps every name a valid key of the record store. */
const MAX_DOMAIN_LENGTH = 262;

// Every repetition below is separated by characters that it cannot contain itself, so matching takes linear time.
const LABEL = '[a-zA-Z0-9]+(?:-+[a-zA-Z0-9]+)*';
const DOMAIN = new RegExp(`^(?:${LABEL}(?:\\.${LABEL})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`);
const PATH_COMPONENT = '[a-z0-9]+(?:(?:\\.|__?|-+)[a-z0-9]+)*';
const PATH = new RegExp(`^${PATH_COMPONENT}(?:/${PATH_COMPONENT})*$`);
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}$/;
const DIGEST = /^[a-zA-Z][a-zA-Z0-9]*(?:[-_+.][a-zA-Z][a-zA-Z0-9]*)*:[0-9a-fA-F]{32,}$/;
const IDENTIFIER = /^[a-f0-9]{64}$/;

/**
 * Parses what a user wrote: `[DOMAIN/]PATH[:TAG][@DIGEST]`. A missing domain becomes `docker.io`, a single component on it
 * `library/…`. No tag is added: {@link canonicalName} does that.
 * @throws InvalidReferenceError, and nothing else, for any other text.
 * @see distribution/reference; contracts/kubernetes-semantics.md section A
 */
export function parseReference(text: string): Reference {
  const fail = (reason: string): never => {
    throw new InvalidReferenceError(text, reason);
  };
  if (text === '') fail('repository name must have at least one component');
  if (IDENTIFIER.test(text)) {
    fail(`invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`);
  }
  const { domain, remainder } = splitDomain(text);
  const { path, tag, digest } = splitRemainder(remainder);
  if (path.toLowerCase() !== path) {
    fail(`invalid reference format: repository name (${path}) must be lowercase`);
  }
  if (domain.length > MAX_DOMAIN_LENGTH || !DOMAIN.test(domain) || !PATH.test(path)) {
    fail('invalid reference format');
  }
  if (tag !== undefined && !TAG.test(tag)) fail('invalid reference format');
  if (path.length > MAX_PATH_LENGTH) {
    fail('repository name must not be more than 255 characters');
  }
  if (digest === undefined) return tag === undefined ? { domain, path } : { domain, path, tag };
  if (!DIGEST.test(digest)) fail('invalid reference format');
  // Grammar allows any algorithm; content is only ever verified by SHA-256 here.
  if (!digest.startsWith('sha256:')) fail('unsupported digest algorithm');
  if (!isDigest(digest)) return fail('invalid checksum digest length');
  return tag === undefined ? { domain, path, digest } : { domain, path, tag, digest };
}

/** `docker.io/library/pause`: domain and path. */
export function repositoryName(reference: Reference): string {
  return `${reference.domain}/${reference.path}`;
}

/** `docker.io/library/pause:latest`: everything spelled out; the tag `latest` is added only if there is neither tag nor digest. */
export function canonicalName(reference: Reference): string {
  return repositoryName(reference) + suffix(reference);
}

/** What a person would write: {@link canonicalName} without the parts that Docker Hub implies. */
export function familiarName(reference: Reference): string {
  return familiarRepository(reference) + suffix(reference);
}

/** {@link familiarName} without tag and digest, for tables that show the tag apart. */
export function familiarRepository({ domain, path }: Reference): string {
  if (domain !== DEFAULT_DOMAIN) return `${domain}/${path}`;
  const short = path.startsWith(OFFICIAL_PREFIX) ? path.slice(OFFICIAL_PREFIX.length) : path;
  // `docker.io/library/a/b` must keep its prefix: `a/b` is another repository.
  const familiar = short.includes('/') ? path : short;
  // So must `docker.io/a.b/c` keep its host: the first component would be taken for one.
  return splitDomain(familiar).domain === DEFAULT_DOMAIN ? familiar : `${domain}/${path}`;
}

/** The tag that a reference means: its own, `latest` when it has neither tag nor digest, none for a digest (contract A26). */
export function effectiveTag({ tag, digest }: Reference): string | undefined {
  return digest === undefined ? (tag ?? DEFAULT_TAG) : undefined;
}

function suffix({ tag, digest }: Reference): string {
  const shownTag = tag ?? (digest === undefined ? DEFAULT_TAG : undefined);
  return (
    (shownTag === undefined ? '' : `:${shownTag}`) + (digest === undefined ? '' : `@${digest}`)
  );
}

function splitDomain(text: string): { domain: string; remainder: string } {
  const slash = text.indexOf('/');
  const first = text.slice(0, Math.max(slash, 0));
  const isDomain = first === 'localhost' || /[.:]/.test(first) || first.toLowerCase() !== first;
  const domain = isDomain ? first : DEFAULT_DOMAIN;
  const remainder = isDomain ? text.slice(slash + 1) : text;
  if (domain !== DEFAULT_DOMAIN && domain !== LEGACY_DEFAULT_DOMAIN) return { domain, remainder };
  const official = remainder.includes('/') ? '' : OFFICIAL_PREFIX;
  return { domain: DEFAULT_DOMAIN, remainder: official + remainder };
}

function splitRemainder(remainder: string): {
  path: string;
  tag: string | undefined;
  digest: string | undefined;
} {
  const at = remainder.indexOf('@');
  const named = at === -1 ? remainder : remainder.slice(0, at);
  const digest = at === -1 ? undefined : remainder.slice(at + 1);
  const colon = named.indexOf(':');
  if (colon === -1) return { path: named, tag: undefined, digest };
  return { path: named.slice(0, colon), tag: named.slice(colon + 1), digest };
}

/** Quoted for a terminal: control characters escaped, length bounded. */
function quote(text: string): string {
  return JSON.stringify(text.length > 300 ? `${text.slice(0, 300)}…` : text);
}
