import { randomUUID } from 'node:crypto';
import { createReadStream, type Stats } from 'node:fs';
import { mkdir, open, readdir, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { StatePaths } from '../config.js';
import { type Digest, digestHex, digestOf, isDigest } from '../digest.js';
import { RuntimeError } from '../errors.js';
import { nameFullDisk } from './full-disk.js';
import { OCI_INDEX_TYPE } from './media-type.js';

/** A blob has not the size that a manifest says (`SIZE_MISMATCH`), or is missing (`NOT_FOUND`). */
export class BlobError extends RuntimeError {}

/** A manifest as `index.json` lists it. */
export interface LayoutEntry {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Full name, `docker.io/library/busybox:latest`. */
  readonly name?: string;
}

/** Our own files in `ingest`, so that those of a crashed process can be told from other people's. */
const TEMPORARY_PREFIX = 'blob-';

export interface BlobStoreOptions {
  /** Has a published file brought to the disk in the background. */
  readonly syncLater: (path: string) => void;
}

/**
 * Blobs by digest, laid out as an OCI image layout, so that other tools can read the root. A blob exists complete and verified, or
 * not at all: it is written under a private name and renamed. Nobody waits for the disk: what a power cut leaves of a blob does not hash to its name,
 * so {@link BlobStore.read} takes it for absent.
 * @see OCI image-spec, image-layout.md
 */
export class BlobStore {
  readonly #paths: StatePaths;
  readonly #syncLater: BlobStoreOptions['syncLater'];

  private constructor(paths: StatePaths, { syncLater }: BlobStoreOptions) {
    this.#paths = paths;
    this.#syncLater = syncLater;
  }

  static async open(paths: StatePaths, options: BlobStoreOptions): Promise<BlobStore> {
    await mkdir(paths.blobs, { recursive: true, mode: 0o700 });
    await mkdir(paths.ingest, { recursive: true, mode: 0o700 });
    const store = new BlobStore(paths, options);
    const isLayout = (await stat(paths.ociLayout).catch(absent)) !== undefined;
    if (!isLayout)
      await store.#replace(paths.ociLayout, JSON.stringify({ imageLayoutVersion: '1.0.0' }));
    return store;
  }

  /** Where the blob is, or will be published. */
  path(digest: Digest): string {
    return join(this.#paths.blobs, digestHex(digest));
  }

  /** Size of a blob in bytes; undefined when it is not there. */
  async size(digest: Digest): Promise<number | undefined> {
    const stats: Stats | undefined = await stat(this.path(digest)).catch(absent);
    return stats?.size;
  }

  /**
   * Reads a blob that fits into memory and verifies it. Undefined when it is not there, or no longer what it was (a crash, a bad
   * disk): the caller fetches it again.
   */
  async read(digest: Digest, maxBytes: number): Promise<Buffer | undefined> {
    const file = await open(this.path(digest), 'r').catch(absent);
    if (file === undefined) return undefined;
    try {
      const { size } = await file.stat();
      if (size > maxBytes) return undefined;
      const bytes = await file.readFile();
      return digestOf(bytes) === digest ? bytes : undefined;
    } finally {
      await file.close();
    }
  }

  /** Stores bytes held in memory, unless they are there already. */
  async write(bytes: Uint8Array): Promise<Digest> {
    const digest = digestOf(bytes);
    const stored = await this.read(digest, bytes.byteLength);
    if (stored === undefined) await this.#replace(this.path(digest), bytes);
    return digest;
  }

  /**
   * Reads a large blob from `offsetBytes` on, unverified.
   * @throws BlobError `NOT_FOUND`
   */
  async *stream(digest: Digest, offsetBytes = 0): AsyncGenerator<Uint8Array, void, undefined> {
    if ((await this.size(digest)) === undefined)
      throw new BlobError('NOT_FOUND', `Blob ${digest} is missing`);
    yield* createReadStream(this.path(digest), {
      start: offsetBytes,
      highWaterMark: 256 * 1024,
    }) as AsyncIterable<Buffer>;
  }

  async list(): Promise<Digest[]> {
    const names = await readdir(this.#paths.blobs);
    return names.map((name) => `sha256:${name}`).filter(isDigest);
  }

  /** Absent is success. */
  async remove(digest: Digest): Promise<void> {
    await unlink(this.path(digest)).catch(absent);
  }

  /** Rewrites `index.json`; the caller sees to it that nobody else does at the same time. */
  async writeIndex(entries: readonly LayoutEntry[]): Promise<void> {
    await this.#replace(this.#paths.ociIndex, JSON.stringify(layoutIndex(entries), null, 2));
  }

  /** Removes what a crashed process left; the caller sees to it that nobody writes now. */
  async removeTemporaryFiles(): Promise<void> {
    for (const name of await readdir(this.#paths.ingest)) {
      if (name.startsWith(TEMPORARY_PREFIX))
        await unlink(join(this.#paths.ingest, name)).catch(absent);
    }
  }

  /** A new private path on the same file system; the caller removes what it puts there. */
  temporaryPath(): string {
    return join(this.#paths.ingest, `${TEMPORARY_PREFIX}${randomUUID()}`);
  }

  async #replace(path: string, content: Uint8Array | string): Promise<void> {
    const temporary = this.temporaryPath();
    const file = await open(temporary, 'wx', 0o600);
    try {
      try {
        await file.writeFile(content);
      } finally {
        await file.close();
      }
      await rename(temporary, path);
      this.#syncLater(path);
    } catch (error) {
      await unlink(temporary).catch(absent);
      throw nameFullDisk(error, path);
    }
  }
}

/** An `index.json`. Both annotations are written: tools disagree which one holds the full name. */
export function layoutIndex(entries: readonly LayoutEntry[]): object {
  return {
    schemaVersion: 2,
    mediaType: OCI_INDEX_TYPE,
    manifests: entries.map(({ mediaType, digest, sizeBytes, name }) => ({
      mediaType,
      digest,
      size: sizeBytes,
      ...(name === undefined
        ? {}
        : {
            annotations: {
              'org.opencontainers.image.ref.name': name,
              'io.containerd.image.name': name,
            },
          }),
    })),
  };
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
  return undefined;
}
