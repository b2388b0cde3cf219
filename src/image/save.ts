import { createHash, randomUUID } from 'node:crypto';
import { open, readdir, rename, rm, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { type Digest, digestHex } from '../digest.js';
import { makeDirectories } from '../directories.js';
import { FailedPreconditionError, RuntimeError } from '../errors.js';
import { type BlobStore, type LayoutEntry, layoutIndex } from './blob-store.js';
import type { ImageRecord } from './image-store.js';
import { MAX_MANIFEST_BYTES, parseManifestDocument } from './manifest.js';
import { TarWriter } from './tar-writer.js';

/** An image to save, under these names only. */
export interface SavedImage {
  readonly image: ImageRecord;
  readonly names: readonly string[];
}

export interface SaveOptions {
  readonly signal?: AbortSignal | undefined;
}

const LAYOUT_FILE = JSON.stringify({ imageLayoutVersion: '1.0.0' });

/** Everything of an archive but its blobs. */
interface ArchivePlan {
  readonly blobs: ReadonlyMap<Digest, number>;
  readonly index: string;
  /** As `docker save` writes it, so that Docker loads the same archive. */
  readonly dockerManifest: string;
}

/**
 * Writes images as a tar that is an OCI layout and a `docker save` archive at once, to a file (replaced when complete) or a stream.
 * Blobs are verified on the way. The caller holds the shared image lock.
 * @throws RuntimeError `NOT_FOUND`, `DIGEST_MISMATCH`; the reason of `signal`.
 */
export async function saveTar(
  blobs: BlobStore,
  images: readonly SavedImage[],
  { destination, signal }: SaveOptions & { readonly destination: string | Writable },
): Promise<void> {
  const plan = await planArchive(blobs, images);
  if (typeof destination !== 'string') {
    await writeTar(plan, { blobs, signal, sink: (bytes) => writeChunk(destination, bytes) });
    return;
  }
  const path = resolve(destination);
  const temporary = join(dirname(path), `.${randomUUID()}.partial`);
  const file = await open(temporary, 'wx', 0o644);
  try {
    try {
      await writeTar(plan, {
        blobs,
        signal,
        sink: async (bytes) => void (await file.write(bytes)),
      });
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
}

/**
 * Writes images as an OCI layout directory, which must not exist or be empty. As {@link saveTar} otherwise.
 * @throws FailedPreconditionError when there is something at `directory`.
 */
export async function saveDirectory(
  blobs: BlobStore,
  images: readonly SavedImage[],
  { directory, signal }: SaveOptions & { readonly directory: string },
): Promise<void> {
  const plan = await planArchive(blobs, images);
  const present = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return [];
  });
  if (present.length > 0)
    throw new FailedPreconditionError(`Cannot save to "${directory}": the directory is not empty`);
  await makeDirectories(join(directory, 'blobs', 'sha256'), 0o777);
  const write = async (name: string, chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) => {
    const file = await open(join(directory, name), 'wx', 0o644);
    try {
      for await (const chunk of chunks) await file.write(chunk);
    } finally {
      await file.close();
    }
  };
  try {
    for (const digest of plan.blobs.keys()) {
      await write(`blobs/sha256/${digestHex(digest)}`, verified(blobs, { digest, signal }));
    }
    await write('index.json', [Buffer.from(plan.index)]);
    await write('oci-layout', [Buffer.from(LAYOUT_FILE)]);
  } catch (error) {
    for (const name of ['blobs', 'index.json', 'oci-layout']) {
      await rm(join(directory, name), { recursive: true, force: true });
    }
    throw error;
  }
}

async function writeTar(
  plan: ArchivePlan,
  {
    blobs,
    sink,
    signal,
  }: SaveOptions & {
    readonly blobs: BlobStore;
    readonly sink: (bytes: Uint8Array) => Promise<void>;
  },
): Promise<void> {
  const tar = new TarWriter(sink);
  await tar.addText('oci-layout', LAYOUT_FILE);
  await tar.addText('index.json', plan.index);
  await tar.addText('manifest.json', plan.dockerManifest);
  for (const [digest, sizeBytes] of plan.blobs) {
    const chunks = verified(blobs, { digest, signal });
    await tar.add(`blobs/sha256/${digestHex(digest)}`, { sizeBytes, chunks });
  }
  await tar.finish();
}

async function planArchive(blobs: BlobStore, images: readonly SavedImage[]): Promise<ArchivePlan> {
  const needed = new Map<Digest, number>();
  const entries: LayoutEntry[] = [];
  const dockerItems: object[] = [];
  for (const { image, names } of images) {
    const bytes = await blobs.read(image.manifestDigest, MAX_MANIFEST_BYTES);
    const manifest = bytes && parseManifestDocument(bytes, undefined);
    if (bytes === undefined || manifest?.kind !== 'manifest') throw missing(image.manifestDigest);
    const { mediaType, config, layers } = manifest;
    const entry = { mediaType, digest: image.manifestDigest, sizeBytes: bytes.byteLength };
    needed.set(image.manifestDigest, bytes.byteLength);
    for (const { digest } of [config, ...layers]) {
      const size = await blobs.size(digest);
      if (size === undefined) throw missing(digest);
      needed.set(digest, size);
    }
    entries.push(...(names.length === 0 ? [entry] : names.map((name) => ({ ...entry, name }))));
    const path = (digest: Digest) => `blobs/sha256/${digestHex(digest)}`;
    dockerItems.push({
      Config: path(config.digest),
      RepoTags: names,
      Layers: layers.map(({ digest }) => path(digest)),
    });
  }
  return {
    blobs: needed,
    index: JSON.stringify(layoutIndex(entries)),
    dockerManifest: JSON.stringify(dockerItems),
  };
}

async function* verified(
  blobs: BlobStore,
  { digest, signal }: { readonly digest: Digest; readonly signal: AbortSignal | undefined },
): AsyncGenerator<Uint8Array, void, undefined> {
  const hash = createHash('sha256');
  for await (const chunk of blobs.stream(digest)) {
    signal?.throwIfAborted();
    hash.update(chunk);
    yield chunk;
  }
  if (`sha256:${hash.digest('hex')}` !== digest) {
    throw new RuntimeError(
      'DIGEST_MISMATCH',
      `Cannot save: blob ${digest} is damaged on this machine; pull the image again`,
    );
  }
}

/** Writes to a stream and waits until it takes more. */
function writeChunk(stream: Writable, bytes: Uint8Array): Promise<void> {
  return new Promise((resolveWritten, reject) => {
    stream.write(bytes, (error) => (error ? reject(error) : resolveWritten()));
  });
}

function missing(digest: Digest): RuntimeError {
  return new RuntimeError(
    'NOT_FOUND',
    `Cannot save: blob ${digest} is missing on this machine; pull the image again`,
  );
}
