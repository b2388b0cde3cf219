import { type Config, statePaths } from '../config.js';
import type { Digest } from '../digest.js';
import { NotFoundError } from '../errors.js';
import type { LayerForm, NativeBinding, ProbeResult } from '../native.js';
import type { RecordStore } from '../record-store.js';
import { SingleFlight } from '../single-flight.js';
import { EarlyIngest } from './early-ingest.js';
import { type FindKeptMount, LayerDescriptors } from './layer-descriptors.js';
import { LayerDurability } from './layer-durability.js';
import { exists, LayerFiles } from './layer-files.js';
import { chooseLayerForm, tryImageForm } from './layer-form.js';
import type { LayerSource } from './layer-ingest.js';
import { LayerLinks } from './layer-links.js';
import { LayerLocks } from './layer-lock.js';
import { descriptorKey, type LayerIdentity, LayerMaker, layerLock } from './layer-maker.js';
import { LayerMends } from './layer-mends.js';
import { type LayerRecord, type MendRecord, readBootId } from './layer-record.js';
import { LayerRecovery } from './layer-recovery.js';
import type { LowerLayer } from './snapshotter.js';

/** Exports of the native addon that layers need. */
export type LayerNative = Pick<
  NativeBinding,
  | 'LayerJob'
  | 'buildMendLayer'
  | 'digestLayerImage'
  | 'lockFile'
  | 'mountLayerImage'
  | 'probeLayerImage'
  | 'removeTree'
  | 'syncFile'
  | 'syncFilesystem'
>;

export interface LayerStoreOptions {
  readonly config: Config;
  readonly native: LayerNative;
  readonly records: RecordStore;
  /** Asked before a layer image is mounted. Absent: nobody holds any. */
  readonly findKeptMount?: FindKeptMount;
}

export interface IngestOptions extends LayerIdentity {
  readonly source: LayerSource;
  readonly signal?: AbortSignal | undefined;
  /** Compressed bytes received so far by the shared ingest; `sizeBytes` at the end. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

export type EarlyLayer = Pick<IngestOptions, 'digest' | 'sizeBytes' | 'source'>;

/** What {@link LayerStore.verify} found. A tree cannot be compared with its tar any more. */
export type LayerVerification = 'intact' | 'damaged' | 'unverifiable';

/**
 * Layers of images, each stored once for the machine under its diff ID, in one of two forms; see ARCHITECTURE section 6. Several processes may share one
 * root: whatever makes or removes a layer holds the lock of its name. A layer exists when its record does; the record is written after the
 * layer has been renamed into place, and removed before the layer is.
 */
export class LayerStore {
  /** Form of layers stored from now on; earlier ones keep theirs. */
  readonly form: LayerForm;
  readonly #records: RecordStore;
  readonly #files: LayerFiles;
  readonly #locks: LayerLocks;
  readonly #links: LayerLinks;
  readonly #durability: LayerDurability;
  readonly #descriptors: LayerDescriptors;
  readonly #mends: LayerMends;
  readonly #maker: LayerMaker;
  readonly #recovery: LayerRecovery;
  readonly #native: LayerNative;
  readonly #config: Config;
  readonly #ingests = new SingleFlight<LayerRecord>();
  /** Listeners of the ingests under way. */
  readonly #progress = new Map<string, Set<(bytes: number) => void>>();

  private constructor(options: LayerStoreOptions, form: LayerForm, files: LayerFiles) {
    const { config, native, records, findKeptMount = async () => undefined } = options;
    const paths = statePaths(config);
    const bootId = readBootId();
    this.form = form;
    this.#native = native;
    this.#config = config;
    this.#records = records;
    this.#files = files;
    this.#locks = new LayerLocks(paths.locks, native);
    this.#links = new LayerLinks(paths.links);
    this.#durability = new LayerDurability(native);
    this.#descriptors = new LayerDescriptors(files, findKeptMount);
    const layers = records.collection<LayerRecord>('layers');
    const shared = { form, files, links: this.#links, durability: this.#durability, bootId };
    this.#mends = new LayerMends({
      ...shared,
      native,
      locks: this.#locks,
      records: records.collection<MendRecord>('mends'),
    });
    this.#maker = new LayerMaker({
      ...shared,
      config,
      native,
      records: layers,
      descriptors: this.#descriptors,
      mends: this.#mends,
    });
    this.#recovery = new LayerRecovery({
      native,
      files,
      locks: this.#locks,
      maker: this.#maker,
      mends: this.#mends,
      records: layers,
      bootId,
    });
  }

  /**
   * Opens the store of a root. Ingests that dead processes left are removed; layers that were published but had not reached the disk when the machine went
   * down are verified, or made again from their blobs, or forgotten; those of another format version are made again too.
   * @throws UnsupportedError when the configured form does not work here.
   */
  static async open(options: LayerStoreOptions): Promise<LayerStore> {
    const paths = statePaths(options.config);
    const files = new LayerFiles(paths, options.native);
    await files.prepare();
    const form = await chooseLayerForm({
      configured: options.config.layerForm,
      files,
      locks: new LayerLocks(paths.locks, options.native),
      native: options.native,
      kept: options.records.collection('settings'),
    });
    const store = new LayerStore(options, form, files);
    await store.#recovery.run();
    return store;
  }

  /** Whether the kernel mounts layer images now, tried out. */
  tryImageForm(): Promise<ProbeResult> {
    return tryImageForm({ files: this.#files, locks: this.#locks, native: this.#native });
  }

  has(diffId: Digest): boolean {
    return this.get(diffId) !== undefined;
  }

  /** Undefined also for a layer of another version of the format that could not be made again when the store was opened. */
  get(diffId: Digest): LayerRecord | undefined {
    return this.#maker.stored(diffId);
  }

  list(): LayerRecord[] {
    return this.#records
      .collection<LayerRecord>('layers')
      .list()
      .map(({ value }) => value);
  }

  /**
   * Stores one layer and its blob, unless both are stored. Callers of the same layer, also in other processes, share one ingest; it is aborted when the last
   * caller's signal has fired. Nothing is left behind on failure.
   * @throws NativeError with the codes of `LayerJob`; what the source throws; the reason of `signal`.
   */
  async ingest(options: IngestOptions): Promise<LayerRecord> {
    const key = `${options.diffId} ${options.digest}`;
    const listeners = this.#progress.get(key) ?? new Set();
    this.#progress.set(key, listeners);
    const { onProgress, source } = options;
    if (onProgress !== undefined) listeners.add(onProgress);
    let early = 'pour' in source ? source.early : undefined;
    try {
      return await this.#ingests.run(
        key,
        async (signal) => {
          const mine = early;
          early = undefined;
          try {
            return await this.#locks.hold(layerLock(options.diffId), {
              signal,
              action: () =>
                this.#durability.duringFetch(() =>
                  this.#ingestLocked(options, { signal, listeners }),
                ),
            });
          } finally {
            await mine?.discard();
          }
        },
        { signal: options.signal },
      );
    } finally {
      // Another caller's is under way.
      await early?.discard();
      if (onProgress !== undefined) listeners.delete(onProgress);
      if (listeners.size === 0 && this.#progress.get(key) === listeners) this.#progress.delete(key);
    }
  }

  /** Begins to make a layer whose diff ID is not known yet: for the source of {@link ingest}, or to be discarded. */
  begin(layer: EarlyLayer): EarlyIngest {
    return new EarlyIngest({
      native: this.#native,
      config: this.#config,
      form: this.form,
      files: this.#files,
      locks: this.#locks,
      durability: this.#durability,
      ...layer,
    });
  }

  /**
   * A descriptor of the layer's root for overlayfs, opened once and shared by all containers; stays the store's.
   * @throws NotFoundError when the layer is not stored.
   */
  async descriptor(diffId: Digest): Promise<number> {
    const record = this.#require(diffId);
    return this.#descriptors.get(descriptorKey(record), {
      path: this.#files.layer(diffId),
      form: record.form,
    });
  }

  /**
   * The layer that goes on top of a chain (lowest first) so that directories which its layers imply look as below; made once. `written` is false where
   * nothing needs mending.
   * @throws NotFoundError when a layer of the chain is not stored.
   */
  async mend(chain: readonly Digest[]): Promise<MendRecord> {
    const layers = await Promise.all(
      chain.map(async (diffId) => ({
        fd: await this.descriptor(diffId),
        impliedDirectories: this.#require(diffId).impliedDirectories,
      })),
    );
    return this.#mends.make(chain, layers);
  }

  /**
   * Everything below the writable layer of a container, lowest first: the layers of the chain that an opaque root above does not hide, and the mending one.
   * For an empty chain an empty directory. The descriptors stay the store's.
   */
  async lowerOf(chain: readonly Digest[]): Promise<LowerLayer[]> {
    if (chain.length === 0) return [await this.emptyLayer()];
    const mend = chain.length === 1 ? undefined : await this.mend(chain);
    const lower = await Promise.all(
      chain.slice(mend?.firstVisible ?? 0).map(async (diffId) => {
        const record = this.#require(diffId);
        return asLower(await this.descriptor(diffId), { ...record, key: descriptorKey(record) });
      }),
    );
    if (mend?.written === true) {
      const key = `${mend.id} ${mend.generation}`;
      const { form } = mend;
      const fd = await this.#descriptors.get(key, { path: this.#files.mend(mend.id), form });
      lower.push(asLower(fd, { ...mend, key }));
    }
    return lower;
  }

  /** An empty directory, the lower layer of an image without layers. */
  async emptyLayer(): Promise<LowerLayer> {
    const fd = await this.#descriptors.get('empty', {
      path: this.#files.emptyLayer,
      form: 'directory',
    });
    const settings = this.#records.collection<string>('settings');
    let link = settings.get('empty-layer-link');
    if (link === undefined) {
      link = await this.#links.create(this.#files.emptyLayer);
      await settings.put('empty-layer-link', link);
    }
    return { fd, link };
  }

  /** Reads every byte of a stored layer and compares it with what was written. @throws NotFoundError */
  async verify(diffId: Digest): Promise<LayerVerification> {
    const record = this.#require(diffId);
    if (record.form === 'directory') return 'unverifiable';
    return (await this.#recovery.isIntact(record)) ? 'intact' : 'damaged';
  }

  /**
   * Forgets a layer and deletes it in the background, its blob excepted; absent is success. Containers that use it keep it until they end: the caller decides
   * whether it may go.
   */
  async remove(diffId: Digest): Promise<void> {
    await this.#locks.hold(layerLock(diffId), { action: () => this.#maker.remove(diffId) });
  }

  /** Has a published file brought to the disk in the background, when nothing is being fetched. */
  syncLater(path: string): void {
    this.#durability.schedule({ files: [path] });
  }

  /** Brings to the disk what is not there yet, which otherwise happens in the background when nothing is being fetched. */
  settled(): Promise<void> {
    return this.#durability.settled();
  }

  /** Waits for the sync and the deletions under way and closes the descriptors. Containers that run keep their layers. */
  async close(): Promise<void> {
    await this.#durability.close();
    await this.#files.close();
    await this.#descriptors.close();
  }

  async #ingestLocked(
    options: IngestOptions,
    {
      signal,
      listeners,
    }: { readonly signal: AbortSignal; readonly listeners: Set<(bytes: number) => void> },
  ): Promise<LayerRecord> {
    const { blobPath, diffId, sizeBytes } = options;
    const report = (bytes: number) => {
      for (const listener of listeners) listener(bytes);
    };
    if (await exists(blobPath)) {
      const made = this.get(diffId) ?? (await this.#maker.makeFromBlob(options, signal));
      if (made !== undefined) {
        report(sizeBytes);
        return made;
      }
    }
    return this.#maker.make(options, {
      source: options.source,
      saveBlob: true,
      signal,
      onProgress: report,
    });
  }

  #require(diffId: Digest): LayerRecord {
    const record = this.get(diffId);
    if (record === undefined) throw new NotFoundError(`Layer "${diffId}" is not stored`);
    return record;
  }
}

function asLower(
  fd: number,
  { form, key, link }: { readonly form: LayerForm; readonly key: string; readonly link?: string },
): LowerLayer {
  return {
    fd,
    ...(link === undefined ? {} : { link }),
    ...(form === 'image' ? { mountKey: key } : {}),
  };
}
