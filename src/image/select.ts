import type { Digest } from '../digest.js';
import { type ImageConfigDocument, MAX_CONFIG_BYTES, parseImageConfig } from './image-config.js';
import {
  type Descriptor,
  type ImageIndex,
  type ImageManifest,
  MAX_MANIFEST_BYTES,
  ManifestError,
  parseManifestDocument,
} from './manifest.js';
import { isImageConfigType, isLayerType } from './media-type.js';
import { formatPlatform, matchesPlatform, type Platform, rankByPlatform } from './platform.js';

/** Where documents come from: a registry, an archive. What it returns has the descriptor's digest and size. */
export type DocumentSource = (
  descriptor: Pick<Descriptor, 'digest' | 'sizeBytes'>,
  kind: 'manifest' | 'config',
) => Promise<Buffer>;

export interface SelectionOptions {
  readonly platform: Platform;
  readonly source: DocumentSource;
  /** Told of the manifest that is taken before its config is asked for, unless only that tells whether it is taken. */
  readonly onManifest?: (manifest: ImageManifest) => void;
}

/** A document that was found: its bytes and what they hash to. */
export interface Document {
  readonly digest: Digest;
  readonly bytes: Buffer;
  readonly mediaType: string | undefined;
}

/** The image for one platform: checked for everything that can be known before its layers are there. */
export interface SelectedImage {
  readonly manifestDigest: Digest;
  readonly manifestBytes: Buffer;
  readonly manifest: ImageManifest;
  readonly configBytes: Buffer;
  readonly config: ImageConfigDocument;
}

const MAX_INDEX_DEPTH = 4;
/** overlayfs takes no more lower layers. */
const MAX_LAYERS = 500;

/**
 * Finds the image for `platform` below `top`, through indexes within indexes. A single manifest is taken whatever its platform.
 * @throws ManifestError `NO_PLATFORM`, `BAD_MANIFEST`, `UNSUPPORTED_MEDIA_TYPE`; what `source` throws.
 * @see contracts/kubernetes-semantics.md C14 to C25
 */
export async function selectImage(
  top: Document,
  options: SelectionOptions,
): Promise<SelectedImage> {
  const parsed = parseManifestDocument(top.bytes, top.mediaType);
  if (parsed.kind === 'manifest') {
    options.onManifest?.(parsed);
    return complete({ document: top, manifest: parsed }, options.source);
  }
  const { platform } = options;
  const selected = await new Selection(options).search(parsed, 1);
  if (selected !== undefined) return selected;
  const offered = parsed.entries.flatMap((entry) =>
    entry.platform ? [formatPlatform(entry.platform)] : [],
  );
  const list = [...new Set(offered)].slice(0, 20).join(', ') || 'none';
  throw new ManifestError(
    'NO_PLATFORM',
    `no match for platform ${formatPlatform(platform)} in manifest ${top.digest}: not found; it has ${list}`,
  );
}

class Selection {
  readonly #options: SelectionOptions;

  constructor(options: SelectionOptions) {
    this.#options = options;
  }

  async search(index: ImageIndex, depth: number): Promise<SelectedImage | undefined> {
    if (depth > MAX_INDEX_DEPTH) {
      throw new ManifestError(
        'BAD_MANIFEST',
        `Malformed manifest: indexes are nested deeper than ${MAX_INDEX_DEPTH}`,
      );
    }
    const { platform, source, onManifest } = this.#options;
    for (const entry of rankByPlatform(index.entries, platform)) {
      if (entry.sizeBytes > MAX_MANIFEST_BYTES) {
        throw new ManifestError(
          'BAD_MANIFEST',
          `rejecting ${entry.sizeBytes} byte manifest ${entry.digest}: too large`,
        );
      }
      const bytes = await source(entry, 'manifest');
      const parsed = parseManifestDocument(bytes, entry.mediaType || undefined);
      if (parsed.kind === 'index') {
        const found = await this.search(parsed, depth + 1);
        if (found !== undefined) return found;
        continue;
      }
      const document = { digest: entry.digest, bytes, mediaType: parsed.mediaType };
      if (entry.platform !== undefined) onManifest?.(parsed);
      const image = await complete({ document, manifest: parsed }, source);
      // An entry that does not say its platform is asked itself.
      if (entry.platform !== undefined || matchesPlatform(image.config.platform, platform))
        return image;
    }
    return undefined;
  }
}

async function complete(
  { document, manifest }: { readonly document: Document; readonly manifest: ImageManifest },
  source: DocumentSource,
): Promise<SelectedImage> {
  assertRunnable(manifest);
  const configBytes = await source(manifest.config, 'config');
  const config = parseImageConfig(configBytes);
  if (config.diffIds.length !== manifest.layers.length) {
    throw new ManifestError(
      'BAD_MANIFEST',
      `The manifest has ${manifest.layers.length} layers, but the config has ${config.diffIds.length} diff IDs`,
    );
  }
  return {
    manifestDigest: document.digest,
    manifestBytes: document.bytes,
    manifest,
    configBytes,
    config,
  };
}

/** Refuses what could never run, before anything large is fetched. */
function assertRunnable({ config, layers }: ImageManifest): void {
  const unsupported = (reason: string) => new ManifestError('UNSUPPORTED_MEDIA_TYPE', reason);
  if (config.mediaType !== '' && !isImageConfigType(config.mediaType)) {
    throw unsupported(
      `It is an artifact, no container image: its config has the media type "${config.mediaType}"`,
    );
  }
  if (config.sizeBytes > MAX_CONFIG_BYTES) {
    throw new ManifestError(
      'BAD_MANIFEST',
      `Its config has ${config.sizeBytes} bytes, more than ${MAX_CONFIG_BYTES}`,
    );
  }
  if (layers.length > MAX_LAYERS) {
    throw unsupported(`It has ${layers.length} layers; the kernel mounts at most ${MAX_LAYERS}`);
  }
  for (const { mediaType, digest } of layers) {
    if (!isLayerType(mediaType))
      throw unsupported(`Layer ${digest} has the unknown media type "${mediaType}"`);
  }
}
