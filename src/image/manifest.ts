import { type Digest, isDigest } from '../digest.js';
import { RuntimeError } from '../errors.js';
import { INDEX_TYPES, isSchema1Type, MANIFEST_TYPES } from './media-type.js';
import type { Platform } from './platform.js';

/** Reference to a blob. @see OCI image-spec, descriptor.md */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Other places that have the blob; only used for foreign layers. */
  readonly urls: readonly string[];
  readonly annotations: Readonly<Record<string, string>>;
}

export interface IndexEntry extends Descriptor {
  readonly platform?: Platform;
}

/** One image: its config and its layers, lowest first. */
export interface ImageManifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

/** A list of images, one for each platform. */
export interface ImageIndex {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly entries: readonly IndexEntry[];
}

/**
 * A manifest, index or config that cannot be used. Codes: `BAD_MANIFEST` (malformed or contradictory),
 * `UNSUPPORTED_MEDIA_TYPE` (well-formed, but of a kind that cais does not run).
 */
export class ManifestError extends RuntimeError {}

/** Largest manifest or index: what containerd takes, so that the same images work (contract C23). */
export const MAX_MANIFEST_BYTES = 4 * 1048 * 1048;

/** A manifest names the blobs it needs; no registry of today accepts more, and every entry costs memory. */
const MAX_ENTRIES = 10_000;

/**
 * Parses a manifest or an index. The document's own structure decides what it is; a document that could be read as either is
 * refused, since two readers might disagree (CVE-2021-41190), and so is one that contradicts its type.
 * @param declaredType The Content-Type or the type in the descriptor that led here; undefined if there was none.
 * @throws ManifestError
 */
export function parseManifestDocument(
  bytes: Uint8Array,
  declaredType: string | undefined,
): ImageManifest | ImageIndex {
  if (bytes.byteLength > MAX_MANIFEST_BYTES) {
    throw bad(`it has ${bytes.byteLength} bytes, more than the limit of ${MAX_MANIFEST_BYTES}`);
  }
  const document = parseJsonObject(bytes);
  const ownType = optionalString(document, 'mediaType');
  const mediaType = chooseMediaType(document, ownType, declaredType);
  if (document['schemaVersion'] !== 2) {
    throw bad(`expected schemaVersion 2, found ${show(document['schemaVersion'])}`);
  }
  const isIndex = INDEX_TYPES.has(mediaType);
  const foreignKeys = isIndex ? ['config', 'layers'] : ['manifests'];
  for (const key of foreignKeys) {
    if (document[key] !== undefined) {
      throw bad(
        `it is ${isIndex ? 'an index' : 'a manifest'} (${mediaType}) with the field "${key}"`,
      );
    }
  }
  if (isIndex) {
    const entries = list(document, 'manifests').map((entry, i) =>
      readIndexEntry(entry, `manifests[${i}]`),
    );
    return { kind: 'index', mediaType, entries };
  }
  const layers = list(document, 'layers').map((layer, i) => readDescriptor(layer, `layers[${i}]`));
  return {
    kind: 'manifest',
    mediaType,
    config: readDescriptor(document['config'], 'config'),
    layers,
  };
}

function chooseMediaType(
  document: Record<string, unknown>,
  ownType: string | undefined,
  declaredType: string | undefined,
): string {
  const declared = declaredType?.split(';', 1)[0]?.trim().toLowerCase();
  const isSchema1 = [ownType, declared].some((type) => type !== undefined && isSchema1Type(type));
  if (isSchema1 || document['fsLayers'] !== undefined || document['schemaVersion'] === 1) {
    throw new ManifestError(
      'UNSUPPORTED_MEDIA_TYPE',
      'Docker image manifest schema 1 is not supported; push the image again with a current client',
    );
  }
  const known = (type: string | undefined): type is string =>
    type !== undefined && (MANIFEST_TYPES.has(type) || INDEX_TYPES.has(type));
  if (ownType !== undefined) {
    if (!known(ownType)) throw unsupportedType(ownType);
    // Registries and layouts may label the document generically; a different image type is a contradiction.
    if (known(declared) && declared !== ownType) {
      throw bad(`its mediaType is ${ownType}, but it was announced as ${declared}`);
    }
    return ownType;
  }
  if (known(declared)) return declared;
  if (document['manifests'] !== undefined && document['layers'] === undefined) {
    return 'application/vnd.oci.image.index.v1+json';
  }
  if (document['layers'] !== undefined && document['config'] !== undefined) {
    return 'application/vnd.oci.image.manifest.v1+json';
  }
  throw unsupportedType(declared ?? 'no media type');
}

function readIndexEntry(value: unknown, where: string): IndexEntry {
  const descriptor = readDescriptor(value, where);
  const platform = (value as Record<string, unknown>)['platform'];
  if (platform === undefined || platform === null) return descriptor;
  if (!isObject(platform)) throw bad(`${where}.platform is no object`);
  const os = optionalString(platform, 'os');
  const architecture = optionalString(platform, 'architecture');
  if (!os || !architecture) return descriptor;
  const variant = optionalString(platform, 'variant');
  const osVersion = optionalString(platform, 'os.version');
  const features = platform['os.features'];
  return {
    ...descriptor,
    platform: {
      os,
      architecture,
      ...(variant ? { variant } : {}),
      ...(osVersion ? { osVersion } : {}),
      ...(Array.isArray(features) ? { osFeatures: features.map(String) } : {}),
    },
  };
}

function readDescriptor(value: unknown, where: string): Descriptor {
  if (!isObject(value)) throw bad(`${where} is no object`);
  const { digest, size, urls, annotations } = value;
  // Checked before any path or URL is made of it (CVE-2024-3727).
  if (!isDigest(digest))
    throw bad(`${where} has the digest ${show(digest)}, which is no sha256 digest`);
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw bad(`${where} has the size ${show(size)}`);
  }
  return {
    mediaType: optionalString(value, 'mediaType') ?? '',
    digest,
    sizeBytes: size,
    urls: Array.isArray(urls) ? urls.filter((url) => typeof url === 'string').slice(0, 16) : [],
    annotations: stringMap(annotations),
  };
}

function list(document: Record<string, unknown>, key: string): unknown[] {
  const value = document[key];
  if (!Array.isArray(value)) throw bad(`the field "${key}" is no list`);
  if (value.length > MAX_ENTRIES)
    throw bad(`"${key}" has ${value.length} entries, more than ${MAX_ENTRIES}`);
  return value;
}

/** Parses bytes as a JSON object, strictly UTF-8. @throws ManifestError `BAD_MANIFEST` */
export function parseJsonObject(bytes: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new ManifestError('BAD_MANIFEST', 'it is no JSON document', { cause: error });
  }
  if (!isObject(value)) throw bad('it is no JSON object');
  return value;
}

function optionalString(object: Record<string, unknown>, key: string): string | undefined {
  const value = object[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'string') throw bad(`"${key}" is no string`);
  return value.slice(0, 255);
}

function stringMap(value: unknown): Record<string, string> {
  if (!isObject(value)) return {};
  return Object.fromEntries(
    Object.entries(value).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string',
    ),
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function bad(reason: string): ManifestError {
  return new ManifestError('BAD_MANIFEST', `Malformed manifest: ${reason}`);
}

function unsupportedType(mediaType: string): ManifestError {
  return new ManifestError(
    'UNSUPPORTED_MEDIA_TYPE',
    `Unknown manifest media type ${show(mediaType)}`,
  );
}

function show(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 120);
}
