import type { Digest } from '../digest.js';
import type { BlobStore, LayoutEntry } from './blob-store.js';
import { FileLock, type LockNative } from './file-lock.js';
import type { ImageStore } from './image-store.js';
import { MAX_MANIFEST_BYTES, parseManifestDocument } from './manifest.js';

export interface LayoutIndexOptions {
  readonly native: LockNative;
  readonly lockPath: string;
  readonly blobs: BlobStore;
  readonly store: ImageStore;
}

type Listed = Pick<LayoutEntry, 'mediaType' | 'digest' | 'sizeBytes'>;

/** The file `index.json` of the root, for other tools: it lists what the records say. */
export class LayoutIndex {
  readonly #options: LayoutIndexOptions;
  /** What was read before: a manifest is what its digest says, and there may be many. */
  readonly #listed = new Map<Digest, Listed>();

  constructor(options: LayoutIndexOptions) {
    this.#options = options;
  }

  async write(): Promise<void> {
    const { native, lockPath: path, blobs } = this.#options;
    await FileLock.hold(native, { path, exclusive: true }, async () => {
      await blobs.writeIndex(await this.#entries());
    });
  }

  async #entries(): Promise<LayoutEntry[]> {
    const { store } = this.#options;
    const named = store.names().map(({ name, value }) => ({ name, digest: value.manifestDigest }));
    const tags = named.filter(({ name }) => !name.includes('@'));
    const tagged = new Set(tags.map(({ digest }) => digest));
    const all = [...named, ...store.list().map(({ manifestDigest: digest }) => ({ digest }))].map(
      ({ digest }) => digest,
    );
    const untagged = new Set(all.filter((digest) => !tagged.has(digest)));
    const entries: LayoutEntry[] = [];
    for (const { name, digest } of tags) {
      const listed = await this.#list(digest);
      if (listed !== undefined) entries.push({ ...listed, name });
    }
    for (const digest of untagged) {
      const listed = await this.#list(digest);
      if (listed !== undefined) entries.push(listed);
    }
    const present = new Set(all);
    for (const digest of this.#listed.keys()) {
      if (!present.has(digest)) this.#listed.delete(digest);
    }
    return entries;
  }

  /** Undefined when the manifest is not there, or damaged. */
  async #list(digest: Digest): Promise<Listed | undefined> {
    const known = this.#listed.get(digest);
    if (known !== undefined) return known;
    const bytes = await this.#options.blobs.read(digest, MAX_MANIFEST_BYTES);
    if (bytes === undefined) return undefined;
    const { mediaType } = parseManifestDocument(bytes, undefined);
    const listed = { mediaType, digest, sizeBytes: bytes.byteLength };
    this.#listed.set(digest, listed);
    return listed;
  }
}
