import { createHash } from 'node:crypto';
import { type Digest, digestHex, digestOf } from '../digest.js';
import { RuntimeError } from '../errors.js';
import { canonicalName, effectiveTag, parseReference, repositoryName } from '../reference.js';
import type { Archive } from './archive.js';
import { MAX_CONFIG_BYTES, parseImageConfig } from './image-config.js';
import type { ImageRecord } from './image-store.js';
import {
  type Descriptor,
  type IndexEntry,
  MAX_MANIFEST_BYTES,
  ManifestError,
  parseManifestDocument,
} from './manifest.js';
import {
  DOCKER_CONFIG_TYPE,
  DOCKER_LAYER_GZIP_TYPE,
  DOCKER_LAYER_TYPE,
  DOCKER_MANIFEST_TYPE,
} from './media-type.js';
import { type Platform, rankByPlatform } from './platform.js';
import { type PullParts, storeImage } from './pull.js';
import type { ProgressListener } from './pull-progress.js';
import { type Document, type DocumentSource, type SelectedImage, selectImage } from './select.js';
import { ArchiveError } from './tar-index.js';
import type { LayerBytes } from './unpack.js';

/** An archive could not be loaded; `code` is that of the cause. */
export class LoadError extends RuntimeError {
  constructor(archive: string, cause: unknown) {
    const code = cause instanceof RuntimeError ? cause.code : 'LOAD_FAILED';
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(code, `Cannot load ${archive}: ${reason}`, { cause });
  }
}

export interface LoadRequest {
  readonly archive: Archive;
  readonly platform: Platform;
  /** Name for images that the archive does not name in full. */
  readonly name?: string | undefined;
  readonly signal: AbortSignal;
  readonly onProgress: ProgressListener;
}

type LoadParts = Omit<PullParts, 'transport' | 'hosts' | 'turns'>;

/** One image in an archive, and where its layers are. */
interface ArchivedImage {
  readonly selected: SelectedImage;
  readonly target: Document;
  readonly names: readonly string[];
  readonly layerFile: (digest: Digest) => string;
}

const OCI_INDEX_FILE = 'index.json';
const DOCKER_MANIFEST_FILE = 'manifest.json';

/**
 * Loads every image of an archive: an OCI layout, else what `docker save` writes. As with a pull, an image's record comes last, and blobs and
 * layers of a load that failed are left to garbage collection; the caller holds the shared image lock.
 * @throws ArchiveError, ManifestError, LayerError; the reason of `signal`.
 */
export async function loadImages(parts: LoadParts, request: LoadRequest): Promise<ImageRecord[]> {
  const { archive } = request;
  const index = await archive.read(OCI_INDEX_FILE, MAX_MANIFEST_BYTES);
  const manifest =
    index === undefined ? await archive.read(DOCKER_MANIFEST_FILE, MAX_MANIFEST_BYTES) : undefined;
  if (index === undefined && manifest === undefined) {
    throw new ArchiveError(
      `It is no image archive: it has neither "${OCI_INDEX_FILE}" (OCI layout) nor "${DOCKER_MANIFEST_FILE}" (docker save)`,
    );
  }
  const images =
    index === undefined
      ? await readDockerArchive(manifest as Buffer, request)
      : await readOciLayout(index, request);
  const loaded = new Map<Digest, ImageRecord>();
  for (const { selected, target, names, layerFile } of images) {
    const image = await storeImage(parts, {
      selected,
      target,
      names,
      source: ({ digest }) => layerBytes(archive, layerFile(digest)),
      signal: request.signal,
      onProgress: request.onProgress,
    });
    loaded.set(image.id, image);
  }
  return [...loaded.values()];
}

/** A layer that is a file by itself is read by native code: its bytes need no way through JavaScript. */
function layerBytes(archive: Archive, name: string): LayerBytes {
  const { openFile } = archive;
  if (openFile !== undefined) return { openFile: () => openFile.call(archive, name) };
  return {
    pour: async (sink) => {
      // The sink throws when nothing more is wanted.
      for await (const chunk of archive.stream(name)) if (!sink.write(chunk)) await sink.drained();
    },
  };
}

async function readOciLayout(index: Buffer, request: LoadRequest): Promise<ArchivedImage[]> {
  const parsed = parseManifestDocument(index, undefined);
  if (parsed.kind !== 'index') throw new ArchiveError(`"${OCI_INDEX_FILE}" is no image index`);
  const source: DocumentSource = (descriptor) => readBlob(request.archive, descriptor);
  const images: ArchivedImage[] = [];
  for (const entry of entriesFor(parsed.entries, request.platform)) {
    const bytes = await readBlob(request.archive, entry);
    const target = { digest: entry.digest, bytes, mediaType: entry.mediaType || undefined };
    const selected = await selectImage(target, { platform: request.platform, source });
    images.push({
      selected,
      target,
      names: namesOfEntry(entry, request.name),
      layerFile: blobFile,
    });
  }
  if (images.length > 0) return images;
  throw new ManifestError('NO_PLATFORM', 'It has no image for this platform');
}

/** Of entries that share a name the one for the platform; entries for other platforms only are left out. */
function entriesFor(entries: readonly IndexEntry[], platform: Platform): IndexEntry[] {
  const byName = new Map<string, IndexEntry[]>();
  for (const entry of entries) {
    // Without a name and without a platform it stands for itself.
    const key = nameAnnotation(entry) ?? (entry.platform === undefined ? entry.digest : '');
    byName.set(key, [...(byName.get(key) ?? []), entry]);
  }
  return [...byName.values()].flatMap((group) => rankByPlatform(group, platform).slice(0, 1));
}

function nameAnnotation({ annotations }: Descriptor): string | undefined {
  return (
    annotations['io.containerd.image.name'] ?? annotations['org.opencontainers.image.ref.name']
  );
}

/** Tools write a full name, or only a tag: that one needs the name of a repository from the caller. */
function namesOfEntry(entry: Descriptor, name: string | undefined): string[] {
  const written = nameAnnotation(entry);
  if (written !== undefined && /[/:]/.test(written)) return [tagName(written)];
  if (name === undefined) return [];
  const reference = parseReference(name);
  const hasTag = reference.tag !== undefined || written === undefined;
  return [hasTag ? tagName(name) : tagName(`${repositoryName(reference)}:${written}`)];
}

function tagName(text: string): string {
  const reference = parseReference(text);
  const tag = effectiveTag(reference);
  return tag === undefined ? canonicalName(reference) : `${repositoryName(reference)}:${tag}`;
}

async function readDockerArchive(manifest: Buffer, request: LoadRequest): Promise<ArchivedImage[]> {
  const images: ArchivedImage[] = [];
  for (const item of parseDockerManifest(manifest))
    images.push(await readDockerImage(item, request));
  return images;
}

interface DockerArchiveItem {
  readonly config: string;
  readonly repoTags: readonly string[];
  readonly layers: readonly string[];
}

function parseDockerManifest(bytes: Buffer): DockerArchiveItem[] {
  const fail = () => new ArchiveError(`"${DOCKER_MANIFEST_FILE}" is malformed`);
  let items: unknown;
  try {
    items = JSON.parse(bytes.toString('utf8'));
  } catch {
    throw fail();
  }
  if (!Array.isArray(items) || items.length === 0) throw fail();
  return items.map((item: Record<string, unknown> | null) => {
    const { Config: config, RepoTags: repoTags, Layers: layers } = item ?? {};
    if (typeof config !== 'string' || !isStrings(layers) || !isStrings(repoTags ?? []))
      throw fail();
    return { config, layers, repoTags: (repoTags ?? []) as string[] };
  });
}

/** Such an archive has no manifest of the image itself: one is made, the same each time for the same content. */
async function readDockerImage(
  item: DockerArchiveItem,
  request: LoadRequest,
): Promise<ArchivedImage> {
  const { archive } = request;
  const configBytes = await archive.read(item.config, MAX_CONFIG_BYTES);
  if (configBytes === undefined) throw new ArchiveError(`The config "${item.config}" is missing`);
  const config = parseImageConfig(configBytes);
  if (config.diffIds.length !== item.layers.length) {
    throw new ArchiveError(
      `An image has ${item.layers.length} layers, but its config has ${config.diffIds.length} diff IDs`,
    );
  }
  const files = new Map<Digest, string>();
  const layers = [];
  for (const [i, name] of item.layers.entries()) {
    const layer = await describeLayer(archive, { name, diffId: config.diffIds[i] as Digest });
    files.set(layer.digest, name);
    layers.push(layer);
  }
  const manifestBytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: DOCKER_MANIFEST_TYPE,
      config: {
        mediaType: DOCKER_CONFIG_TYPE,
        size: configBytes.byteLength,
        digest: digestOf(configBytes),
      },
      layers,
    }),
  );
  const target = {
    digest: digestOf(manifestBytes),
    bytes: manifestBytes,
    mediaType: DOCKER_MANIFEST_TYPE,
  };
  const source: DocumentSource = async () => configBytes;
  const selected = await selectImage(target, { platform: request.platform, source });
  const given =
    item.repoTags.length === 0 && request.name !== undefined ? [request.name] : item.repoTags;
  const layerFile = (digest: Digest) => files.get(digest) ?? digest;
  return { selected, target, names: given.map(tagName), layerFile };
}

/** Layers are plain tars as a rule, whose digest the config knows; a compressed one must be hashed first. */
async function describeLayer(
  archive: Archive,
  { name, diffId }: { readonly name: string; readonly diffId: Digest },
): Promise<{ mediaType: string; size: number; digest: Digest }> {
  const size = await archive.size(name);
  if (size === undefined) throw new ArchiveError(`The layer "${name}" is missing`);
  const hash = createHash('sha256');
  let isFirst = true;
  for await (const chunk of archive.stream(name)) {
    const isCompressed =
      (chunk[0] === 0x1f && chunk[1] === 0x8b) || (chunk[0] === 0x28 && chunk[1] === 0xb5);
    if (isFirst && !isCompressed) return { mediaType: DOCKER_LAYER_TYPE, size, digest: diffId };
    isFirst = false;
    hash.update(chunk);
  }
  return { mediaType: DOCKER_LAYER_GZIP_TYPE, size, digest: `sha256:${hash.digest('hex')}` };
}

async function readBlob(
  archive: Archive,
  { digest, sizeBytes }: Pick<Descriptor, 'digest' | 'sizeBytes'>,
): Promise<Buffer> {
  const bytes = await archive.read(blobFile(digest), MAX_CONFIG_BYTES);
  if (bytes === undefined) throw new ArchiveError(`The blob ${digest} is missing`);
  if (bytes.byteLength !== sizeBytes || digestOf(bytes) !== digest) {
    throw new RuntimeError(
      'DIGEST_MISMATCH',
      `The content of blob ${digest} is not what its name says`,
    );
  }
  return bytes;
}

function blobFile(digest: Digest): string {
  return `blobs/sha256/${digestHex(digest)}`;
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}
