import { type Digest, isDigest } from '../digest.js';
import { InvalidArgumentError } from '../errors.js';
import type { Collection, RecordStore } from '../record-store.js';
import {
  canonicalName,
  InvalidReferenceError,
  parseReference,
  repositoryName,
} from '../reference.js';
import type { ImageConfig } from './image-config.js';
import { PinnedImages } from './pinned-images.js';
import type { Platform } from './platform.js';

/** One layer of an image, as its manifest and config describe it. */
export interface ImageLayer {
  /** Of the compressed bytes. */
  readonly digest: Digest;
  /** Of the tar. */
  readonly diffId: Digest;
  /** Compressed. */
  readonly sizeBytes: number;
  readonly mediaType: string;
}

/** A complete local image: every blob and layer it names is there. */
export interface ImageRecord {
  /** Digest of the config. */
  readonly id: Digest;
  /** `docker.io/library/busybox:latest`, sorted. */
  readonly names: readonly string[];
  /** `docker.io/library/busybox@sha256:…`, sorted; the digest is that of the index when there was one. */
  readonly repoDigests: readonly string[];
  readonly manifestDigest: Digest;
  readonly platform: Platform;
  /** Config and compressed layers. */
  readonly sizeBytes: number;
  /** Lowest first. */
  readonly layers: readonly ImageLayer[];
  readonly config: ImageConfig;
  /** RFC 3339, empty when the image does not say. */
  readonly createdAt: string;
  /** By the configuration: whoever collects images that are not used (the kubelet, `crictl rmi --prune`) must let it be. */
  readonly pinned: boolean;
}

/** What is known of an image without its names. */
export type ImageDescription = Omit<ImageRecord, 'names' | 'repoDigests'>;

interface StoredImage extends ImageDescription {
  /** Removed by force while a container used it: goes when the container is gone. */
  readonly condemned?: true;
}

/** What a name (with tag or with digest) stands for. */
export interface NameRecord {
  readonly imageId: Digest;
  /** What the registry answered for the name: the index, or the manifest itself. */
  readonly targetDigest: Digest;
  readonly manifestDigest: Digest;
}

const SHORT_ID = /^(?:sha256:)?([0-9a-f]{4,64})$/;

/**
 * Local images and their names. A name is a tag name or a repository digest, and belongs to one image at a time.
 */
export class ImageStore {
  readonly #records: RecordStore;
  readonly #images: Collection<StoredImage>;
  readonly #names: Collection<NameRecord>;

  readonly #pins: PinnedImages;

  constructor(records: RecordStore, pins: PinnedImages = new PinnedImages([])) {
    this.#pins = pins;
    this.#records = records;
    this.#images = records.collection<StoredImage>('images');
    this.#names = records.collection<NameRecord>('image-names');
  }

  /**
   * Finds an image by name, by repository digest (a tag beside it is ignored), by id or by an unambiguous start of its id.
   * @throws InvalidReferenceError when the text is none of these; InvalidArgumentError when an id is ambiguous.
   */
  resolve(text: string): ImageRecord | undefined {
    const name = this.nameOf(text);
    const id =
      (name === undefined ? undefined : this.#names.get(name)?.imageId) ?? this.#expandId(text);
    const image = id === undefined ? undefined : this.#images.get(id);
    return image === undefined ? undefined : this.#complete(image);
  }

  /** The key of the name that `text` means; undefined when it is an id. @throws InvalidReferenceError when it is neither. */
  nameOf(text: string): string | undefined {
    try {
      const reference = parseReference(text);
      return reference.digest === undefined
        ? canonicalName(reference)
        : `${repositoryName(reference)}@${reference.digest}`;
    } catch (error) {
      if (error instanceof InvalidReferenceError && SHORT_ID.test(text)) return undefined;
      throw error;
    }
  }

  list(): ImageRecord[] {
    const names = this.names();
    return this.#images
      .list()
      .filter(({ value }) => value.condemned !== true)
      .map(({ value }) => this.#complete(value, names));
  }

  /** All names, tag names and repository digests. */
  names(): { readonly name: string; readonly value: NameRecord }[] {
    return this.#names.list().map(({ id, value }) => ({ name: id, value }));
  }

  /** Every image that still needs its content, those condemned included. */
  held(): { readonly image: ImageDescription; readonly isCondemned: boolean }[] {
    return this.#images
      .list()
      .map(({ value }) => ({ image: value, isCondemned: value.condemned === true }));
  }

  /** Stores an image and points `names` at it, in one step; names that pointed elsewhere move. */
  async put(
    image: ImageDescription,
    { names, targetDigest }: { readonly names: readonly string[]; readonly targetDigest: Digest },
  ): Promise<ImageRecord> {
    await this.#records.transaction(
      (write) => {
        // The pin survives another pull of the same image.
        const pinned = image.pinned || this.#images.get(image.id)?.pinned === true;
        write.put(this.#images, image.id, { ...image, pinned });
        const record = { imageId: image.id, targetDigest, manifestDigest: image.manifestDigest };
        for (const name of names) write.put(this.#names, name, record);
      },
      { inBackground: true },
    );
    return this.#complete(this.#images.get(image.id) ?? image);
  }

  /** Removes names; absent is success. The image stays, also without any name. */
  async removeNames(names: readonly string[]): Promise<void> {
    await this.#records.transaction((write) => {
      for (const name of names) write.remove(this.#names, name);
    });
  }

  /** Removes an image and all its names, in one step; absent is success. */
  async remove(id: Digest): Promise<void> {
    await this.#records.transaction((write) => {
      for (const { name } of this.#namesOf(id)) write.remove(this.#names, name);
      write.remove(this.#images, id);
    });
  }

  /** Removes an image's names and hides it; its content stays until it is removed in earnest. */
  async condemn(id: Digest): Promise<void> {
    await this.#records.transaction((write) => {
      for (const { name } of this.#namesOf(id)) write.remove(this.#names, name);
      const image = this.#images.get(id);
      if (image !== undefined) write.put(this.#images, id, { ...image, condemned: true });
    });
  }

  #namesOf(id: Digest): { readonly name: string; readonly value: NameRecord }[] {
    return this.names().filter(({ value }) => value.imageId === id);
  }

  #complete({ condemned: _, ...image }: StoredImage, all = this.names()): ImageRecord {
    const names = all.filter(({ value }) => value.imageId === image.id).map(({ name }) => name);
    return {
      ...image,
      names: names.filter((name) => !name.includes('@')).sort(),
      repoDigests: names.filter((name) => name.includes('@')).sort(),
      pinned: image.pinned || this.#pins.has(names),
    };
  }

  #expandId(text: string): Digest | undefined {
    if (isDigest(text)) return text;
    const prefix = SHORT_ID.exec(text)?.[1];
    if (prefix === undefined) return undefined;
    const ids = this.#images.list().map(({ id }) => id as Digest);
    const matches = ids.filter((id) => id.startsWith(`sha256:${prefix}`));
    if (matches.length > 1) {
      throw new InvalidArgumentError(
        `Image id "${text}" is ambiguous: ${matches.length} images begin so; write more of it`,
      );
    }
    return matches[0];
  }
}
