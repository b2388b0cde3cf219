import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import type { Keyring } from '../auth/keyring.js';
import { type Config, type StatePaths, statePaths } from '../config.js';
import type { Digest } from '../digest.js';
import { FailedPreconditionError, InvalidArgumentError, NotFoundError } from '../errors.js';
import type { Collection, RecordStore } from '../record-store.js';
import { canonicalName, parseReference, repositoryName } from '../reference.js';
import { HostsDirectory } from '../registry/hosts-directory.js';
import { Transport, type TransportOptions } from '../registry/transport.js';
import { SingleFlight } from '../single-flight.js';
import { NO_TELEMETRY, type Telemetry } from '../telemetry.js';
import { type Archive, openArchive } from './archive.js';
import { BlobStore } from './blob-store.js';
import { type CollectableLayers, type Collected, collectGarbage } from './collect.js';
import { DiskUsage, type DiskUsageOptions, type ImageFilesystems } from './disk-usage.js';
import { FileLock, type LockNative } from './file-lock.js';
import { type ImageRecord, ImageStore } from './image-store.js';
import { LayoutIndex } from './layout-index.js';
import { LoadError, loadImages } from './load.js';
import { PinnedImages } from './pinned-images.js';
import { formatPlatform, hostPlatform, type Platform } from './platform.js';
import { pullImage } from './pull.js';
import { type CallerCredentials, pullCredentials } from './pull-credentials.js';
import { ProgressHub, type ProgressListener } from './pull-progress.js';
import { PullTurns } from './pull-turns.js';
import { saveDirectory, saveTar } from './save.js';
import type { LayerCache } from './unpack.js';

export interface ImageServiceOptions {
  readonly config: Config;
  readonly native: LockNative & DiskUsageOptions['native'];
  readonly records: RecordStore;
  readonly layers: LayerCache & CollectableLayers;
  /** Credentials of the machine, asked when a pull brings none. */
  readonly keyring: Keyring;
  /** Whether a container uses the image; asked before removal. */
  readonly isInUse: (imageId: Digest) => boolean;
  readonly transport?: Partial<TransportOptions>;
  readonly telemetry?: Telemetry;
}

export interface PullOptions extends CallerCredentials {
  /** Of the index entry to take; absent: this machine's. */
  readonly platform?: Platform;
  readonly onProgress?: ProgressListener;
  readonly signal?: AbortSignal;
}

export interface LoadOptions {
  readonly platform?: Platform;
  /** For images that the archive does not name in full. */
  readonly name?: string;
  readonly onProgress?: ProgressListener;
  readonly signal?: AbortSignal;
}

export interface SaveImageOptions {
  /** Path, or a stream for a tar. */
  readonly destination: string | Writable;
  readonly format?: 'tar' | 'directory';
  readonly signal?: AbortSignal;
}

/** What {@link ImageService.remove} did. */
export interface RemovedImage {
  /** Names that no longer exist. */
  readonly untagged: readonly string[];
  /** Id of the image, when it went with its last name. */
  readonly deleted?: Digest;
}

/** Record that says that a removal could not collect because somebody was pulling. */
const COLLECTION = 'collection';

/**
 * Images of one root: pull, list, inspect, remove, collect. Several processes may use the root at once: who adds content holds a shared lock, and only
 * collection takes it exclusively.
 */
export class ImageService {
  readonly #options: ImageServiceOptions;
  readonly #paths: StatePaths;
  readonly #blobs: BlobStore;
  readonly #store: ImageStore;
  readonly #index: LayoutIndex;
  readonly #usage: DiskUsage;
  readonly #pulls = new SingleFlight<ImageRecord>();
  readonly #turns = new PullTurns();
  /** Progress of the pulls that are running. */
  readonly #hubs = new Map<string, ProgressHub>();
  readonly #upkeep: Collection<{ readonly isDue: true }>;
  #transport: Promise<Transport> | undefined;

  private constructor(
    options: ImageServiceOptions,
    parts: { paths: StatePaths; blobs: BlobStore },
  ) {
    this.#options = options;
    this.#paths = parts.paths;
    this.#blobs = parts.blobs;
    this.#store = new ImageStore(options.records, new PinnedImages(options.config.pinnedImages));
    this.#index = new LayoutIndex({
      native: options.native,
      lockPath: join(this.#paths.locks, 'index'),
      blobs: this.#blobs,
      store: this.#store,
    });
    this.#usage = new DiskUsage({ paths: this.#paths, native: options.native });
    this.#upkeep = options.records.collection('image-upkeep');
  }

  static async open(options: ImageServiceOptions): Promise<ImageService> {
    const paths = statePaths(options.config);
    await mkdir(paths.locks, { recursive: true, mode: 0o700 });
    const syncLater = (path: string) => options.layers.syncLater(path);
    const blobs = await BlobStore.open(paths, { syncLater });
    const service = new ImageService(options, { paths, blobs });
    if (service.#upkeep.has(COLLECTION)) await service.#collectSoon();
    return service;
  }

  /**
   * Pulls an image, or joins the pull of the same image that is running. The download ends with its last waiter.
   * @throws InvalidReferenceError, RegistryError, PullError; the reason of `signal`. Then nothing of the image exists.
   */
  async pull(text: string, options: PullOptions = {}): Promise<ImageRecord> {
    const reference = parseReference(text);
    const platform = options.platform ?? hostPlatform();
    const { signal } = options;
    const { keyring } = this.#options;
    const credentials = pullCredentials(options, { reference, keyring });
    const key = [canonicalName(reference), formatPlatform(platform), credentials.owner].join('\n');
    signal?.throwIfAborted();
    const running = this.#pulls.has(key) ? this.#hubs.get(key) : undefined;
    const hub = running ?? new ProgressHub();
    this.#hubs.set(key, hub);
    const unsubscribe = options.onProgress && hub.subscribe(options.onProgress);
    const { telemetry = NO_TELEMETRY } = this.#options;
    const work = async (shared: AbortSignal) => {
      try {
        const onProgress = (progress: Parameters<ProgressListener>[0]) => hub.report(progress);
        const credentialsFor = (registry: string) => credentials.lookup(registry, shared);
        const onFetched = (bytes: number) => telemetry.pulledBytes(bytes);
        const hooks = { credentialsFor, onProgress, onFetched };
        const request = { reference, platform, signal: shared, ...hooks };
        const attributes = { image: canonicalName(reference) };
        return await telemetry.observe('image.pull', { attributes }, () =>
          this.#adding(async () => pullImage(await this.#parts(), request)),
        );
      } finally {
        if (this.#hubs.get(key) === hub) this.#hubs.delete(key);
      }
    };
    try {
      return await this.#pulls.run(key, work, { signal });
    } finally {
      unsubscribe?.();
    }
  }

  /** Images, in the order of their ids. */
  list(): ImageRecord[] {
    return this.#store.list();
  }

  /** Finds an image by name, digest or (start of an) id. @throws NotFoundError, InvalidReferenceError */
  inspect(text: string): ImageRecord {
    const image = this.#store.resolve(text);
    if (image === undefined)
      throw new NotFoundError(`Image "${text}" not found on this machine; pull it first`);
    return image;
  }

  /**
   * The image that a container may be made of. Undefined when there is none, and when a layer of it got lost (a power cut): pulling mends that.
   * @throws InvalidReferenceError
   */
  find(text: string): ImageRecord | undefined {
    const image = this.#store.resolve(text);
    const isComplete = image?.layers.every(({ diffId }) => this.#options.layers.has(diffId));
    return isComplete === true ? image : undefined;
  }

  /**
   * Removes a name, or by id all names; the image goes with its last one.
   * @param force Also when a container uses it: the content then stays until no container does.
   * @throws NotFoundError; FailedPreconditionError when a container uses it.
   */
  async remove(
    text: string,
    { force = false }: { readonly force?: boolean } = {},
  ): Promise<RemovedImage> {
    const image = this.inspect(text);
    const untagged = this.#namesRemovedBy(text, image);
    const isLast = untagged.length === image.names.length + image.repoDigests.length;
    if (!isLast) {
      await this.#store.removeNames(untagged);
      await this.#writeIndex();
      return { untagged };
    }
    const isInUse = this.#options.isInUse(image.id);
    if (isInUse && !force) {
      throw new FailedPreconditionError(
        `Cannot remove image "${text}": a container uses it; remove the container first, or force the removal`,
      );
    }
    await (isInUse ? this.#store.condemn(image.id) : this.#store.remove(image.id));
    // First the space, then the file that takes some.
    await this.#collectSoon();
    await this.#writeIndex();
    return { untagged, deleted: image.id };
  }

  /**
   * Loads the images of an archive: an OCI layout directory, a tar of one, or what `docker save` writes; a stream may be either tar.
   * @throws LoadError, NotFoundError; the reason of `signal`. Images of the archive that were complete by then stay.
   */
  async load(source: string | Readable, options: LoadOptions = {}): Promise<ImageRecord[]> {
    const { signal = new AbortController().signal, onProgress = () => undefined, name } = options;
    const platform = options.platform ?? hostPlatform();
    if (name !== undefined) parseReference(name);
    const parts = { blobs: this.#blobs, store: this.#store, layers: this.#options.layers };
    return this.#adding(async () => {
      let archive: Archive | undefined;
      try {
        archive = await openArchive(source, { temporaryPath: this.#blobs.temporaryPath(), signal });
        return await loadImages(parts, { archive, platform, name, signal, onProgress });
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof NotFoundError) throw error;
        throw new LoadError(typeof source === 'string' ? `"${source}"` : 'the archive', error);
      } finally {
        await archive?.close();
      }
    });
  }

  /**
   * Saves images as one archive: a tar file or stream, or an OCI layout directory. An image named by id is saved under all its names.
   * @throws NotFoundError, RuntimeError; the reason of `signal`. Then nothing is left at the destination.
   */
  async save(names: readonly string[], options: SaveImageOptions): Promise<void> {
    const images = names.map((text) => {
      const image = this.inspect(text);
      const name = this.#store.nameOf(text);
      const isTag = name !== undefined && image.names.includes(name);
      return { image, names: isTag ? [name] : name === undefined ? image.names : [] };
    });
    const lock = await FileLock.take(this.#options.native, this.#lockPath, {
      exclusive: false,
      wait: true,
    });
    try {
      const { destination, signal, format = 'tar' } = options;
      if (format === 'directory') {
        if (typeof destination !== 'string')
          throw new InvalidArgumentError('A directory cannot be written to a stream');
        await saveDirectory(this.#blobs, images, { directory: destination, signal });
      } else await saveTar(this.#blobs, images, { destination, signal });
    } finally {
      lock?.release();
    }
  }

  /** Removes every blob and layer that no image needs; waits until nobody pulls. */
  async collect(): Promise<Collected> {
    const path = this.#lockPath;
    return FileLock.hold(this.#options.native, { path, exclusive: true }, () =>
      this.#collectLocked(),
    );
  }

  /** How much of the disk images and writable layers take. */
  fsInfo(): Promise<ImageFilesystems> {
    return this.#usage.measure();
  }

  async close(): Promise<void> {
    await (await this.#transport)?.close();
  }

  /** A removed tag takes the digests of its repository with it, unless another tag of the repository stays. */
  #namesRemovedBy(text: string, image: ImageRecord): string[] {
    const all = [...image.names, ...image.repoDigests];
    const name = this.#store.nameOf(text);
    if (name === undefined || !all.includes(name)) return all;
    if (name.includes('@')) return [name];
    const repository = repositoryName(parseReference(name));
    const ofRepository = (each: string) => repositoryName(parseReference(each)) === repository;
    if (image.names.some((other) => other !== name && ofRepository(other))) return [name];
    return [name, ...image.repoDigests.filter(ofRepository)];
  }

  /** Runs `action`, which adds content, while collection is locked out; what it leaves behind when it fails is collected. */
  async #adding<T>(action: () => Promise<T>): Promise<T> {
    const lock = await FileLock.take(this.#options.native, this.#lockPath, {
      exclusive: false,
      wait: true,
    });
    let result: T;
    try {
      result = await action();
      await this.#writeIndex();
    } catch (error) {
      lock?.release();
      // What went wrong is what the caller must hear; the next change collects.
      await this.#collectSoon().catch(() => undefined);
      throw error;
    }
    lock?.release();
    if (this.#upkeep.has(COLLECTION)) await this.#collectSoon();
    return result;
  }

  /** Collects now, unless somebody adds content: whoever ends last then collects. */
  async #collectSoon(): Promise<void> {
    const lock = await FileLock.take(this.#options.native, this.#lockPath, {
      exclusive: true,
      wait: false,
    });
    if (lock === undefined) {
      await this.#upkeep.put(COLLECTION, { isDue: true }, { essential: true });
      return;
    }
    try {
      await this.#collectLocked();
    } finally {
      lock.release();
    }
  }

  async #collectLocked(): Promise<Collected> {
    const { layers, isInUse } = this.#options;
    const parts = { blobs: this.#blobs, store: this.#store, layers, isInUse };
    const collected = await collectGarbage(parts);
    if (this.#upkeep.has(COLLECTION)) await this.#upkeep.remove(COLLECTION);
    return collected;
  }

  /** Nothing of ours reads it: on a full disk, where removing must work and what was pulled is there, the old one stays until the next change. */
  async #writeIndex(): Promise<void> {
    await this.#index.write().catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOSPC' && error.code !== 'EDQUOT') throw error;
    });
  }

  async #parts() {
    const { layers, config, transport } = this.#options;
    const { insecureRegistries, registryConfigDir: path } = config;
    this.#transport ??= Transport.open({ insecureRegistries, ...transport });
    const hosts = new HostsDirectory({ path, insecureRegistries });
    const [blobs, store, turns] = [this.#blobs, this.#store, this.#turns];
    return { transport: await this.#transport, hosts, blobs, store, layers, turns };
  }

  get #lockPath(): string {
    return join(this.#paths.locks, 'images');
  }
}
