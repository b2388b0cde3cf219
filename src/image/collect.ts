import type { Digest } from '../digest.js';
import type { BlobStore } from './blob-store.js';
import type { ImageStore } from './image-store.js';
import { MAX_MANIFEST_BYTES, ManifestError, parseManifestDocument } from './manifest.js';

/** What collection needs of the layer store. */
export interface CollectableLayers {
  list(): Iterable<{ readonly diffId: Digest }>;
  remove(diffId: Digest): Promise<void>;
}

export interface CollectParts {
  readonly blobs: BlobStore;
  readonly store: ImageStore;
  readonly layers: CollectableLayers;
  /** Whether a container uses the image. */
  readonly isInUse: (imageId: Digest) => boolean;
}

export interface Collected {
  readonly blobs: number;
  readonly layers: number;
}

/**
 * Mark and sweep: removes every blob and layer that no image needs. The caller holds the image lock exclusively: nobody pulls or loads.
 */
export async function collectGarbage(parts: CollectParts): Promise<Collected> {
  const { blobs, store, layers } = parts;
  for (const { image, isCondemned } of store.held()) {
    if (isCondemned && !parts.isInUse(image.id)) await store.remove(image.id);
  }
  const marks = await mark(parts);
  const removed = { blobs: 0, layers: 0 };
  for (const digest of await blobs.list()) {
    if (marks.blobs.has(digest)) continue;
    await blobs.remove(digest);
    removed.blobs++;
  }
  for (const { diffId } of [...layers.list()]) {
    if (marks.layers.has(diffId)) continue;
    await layers.remove(diffId);
    removed.layers++;
  }
  await blobs.removeTemporaryFiles();
  return removed;
}

async function mark({
  blobs,
  store,
}: CollectParts): Promise<{ blobs: Set<Digest>; layers: Set<Digest> }> {
  const marks = { blobs: new Set<Digest>(), layers: new Set<Digest>() };
  const manifests = new Set<Digest>();
  for (const { image } of store.held()) {
    marks.blobs.add(image.id);
    manifests.add(image.manifestDigest);
    for (const { digest, diffId } of image.layers) {
      marks.blobs.add(digest);
      marks.layers.add(diffId);
    }
  }
  for (const { value } of store.names()) {
    marks.blobs.add(value.targetDigest);
    manifests.add(value.manifestDigest);
  }
  // One image may have been pulled under two manifests (its layers compressed in two ways): both stay readable.
  for (const digest of manifests) {
    marks.blobs.add(digest);
    const bytes = await blobs.read(digest, MAX_MANIFEST_BYTES);
    for (const blob of bytes === undefined ? [] : layersOf(bytes)) marks.blobs.add(blob);
  }
  return marks;
}

function layersOf(bytes: Buffer): Digest[] {
  try {
    const parsed = parseManifestDocument(bytes, undefined);
    return parsed.kind === 'manifest' ? parsed.layers.map(({ digest }) => digest) : [];
  } catch (error) {
    // It was parsed when it was stored; the rules may have become stricter since.
    if (error instanceof ManifestError) return [];
    throw error;
  }
}
