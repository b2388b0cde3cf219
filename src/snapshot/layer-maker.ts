import { randomBytes } from 'node:crypto';
import { open, unlink } from 'node:fs/promises';
import type { Config } from '../config.js';
import { type Digest, digestHex } from '../digest.js';
import type { LayerForm, LayerResult, NativeBinding } from '../native.js';
import type { Collection } from '../record-store.js';
import { EarlyIngest, type EarlyResult } from './early-ingest.js';
import type { LayerDescriptors } from './layer-descriptors.js';
import { filesOfLayer, type LayerDurability } from './layer-durability.js';
import type { LayerFiles } from './layer-files.js';
import { type LayerSource, publishLayer, runLayerJob } from './layer-ingest.js';
import type { LayerLinks } from './layer-links.js';
import type { LayerMends } from './layer-mends.js';
import { LAYER_FORMAT_VERSION, type LayerRecord } from './layer-record.js';

/** Codes of the pipeline that say that the bytes are wrong, not the machine. */
const CONTENT_CODES = new Set([
  'DIGEST_MISMATCH',
  'SIZE_MISMATCH',
  'TRUNCATED',
  'TRAILING_DATA',
  'BAD_COMPRESSION',
  'BAD_TAR',
]);

/** Which layer, and where its blob is or goes. */
export interface LayerIdentity {
  /** Of the compressed bytes. */
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Of the tar. */
  readonly diffId: Digest;
  /** Where the verified compressed blob is published, or is already. */
  readonly blobPath: string;
}

export interface LayerMakerOptions {
  readonly config: Pick<Config, 'limits'>;
  readonly form: LayerForm;
  readonly native: Pick<NativeBinding, 'LayerJob'>;
  readonly files: LayerFiles;
  readonly links: LayerLinks;
  readonly records: Collection<LayerRecord>;
  readonly durability: LayerDurability;
  readonly descriptors: LayerDescriptors;
  readonly mends: LayerMends;
  readonly bootId: string;
}

/** One making of a layer. */
export interface LayerMaking {
  readonly source: LayerSource;
  /** Whether the compressed bytes are kept too. */
  readonly saveBlob: boolean;
  readonly signal: AbortSignal;
  readonly onProgress: (bytes: number) => void;
}

/** Makes and removes layers with their records. Every call needs the lock {@link layerLock} of its layer. */
export class LayerMaker {
  readonly #options: LayerMakerOptions;

  constructor(options: LayerMakerOptions) {
    this.#options = options;
  }

  /** The layer, if it is stored in a form that this version reads. */
  stored(diffId: Digest): LayerRecord | undefined {
    const record = this.#options.records.get(diffId);
    return record?.formatVersion === LAYER_FORMAT_VERSION ? record : undefined;
  }

  /** Makes a layer from its stored blob. Undefined when the blob was not what its name says: it is gone then. */
  async makeFromBlob(layer: LayerIdentity, signal: AbortSignal): Promise<LayerRecord | undefined> {
    const file = await open(layer.blobPath, 'r');
    try {
      return await this.make(layer, {
        source: { fd: file.fd },
        saveBlob: false,
        signal,
        onProgress: () => undefined,
      });
    } catch (error) {
      if (!CONTENT_CODES.has((error as { code?: string }).code ?? '')) throw error;
      await unlink(layer.blobPath);
      return undefined;
    } finally {
      await file.close();
    }
  }

  /** Runs the pipeline and publishes its result: blob, layer, record, in this order. Nothing is left behind on failure. */
  async make(layer: LayerIdentity, making: LayerMaking): Promise<LayerRecord> {
    const { native, config, form, files } = this.#options;
    const early = 'pour' in making.source ? making.source.early : undefined;
    const begun =
      early instanceof EarlyIngest ? await early.finish(layer.diffId, making) : undefined;
    if (begun !== undefined) return this.#publish(layer, begun, making);
    const directory = files.ingest(layerLock(layer.diffId));
    await files.removeNow(directory);
    try {
      const { diffId, digest, sizeBytes } = layer;
      const job = { native, config, form, directory, diffId, digest, sizeBytes };
      const result = await runLayerJob({ ...job, ...making });
      return await this.#publish(layer, { directory, result }, making);
    } finally {
      await files.removeNow(directory);
    }
  }

  async #publish(
    layer: LayerIdentity,
    { directory, result }: EarlyResult,
    { saveBlob }: LayerMaking,
  ): Promise<LayerRecord> {
    const { diffId, blobPath } = layer;
    const stored = this.stored(diffId);
    if (stored !== undefined) {
      // Only the blob was missing: containers use the layer that is there.
      await publishLayer(directory, { blobPath });
      return stored;
    }
    await this.remove(diffId);
    await publishLayer(directory, {
      ...(saveBlob ? { blobPath } : {}),
      layerPath: this.#options.files.layer(diffId),
    });
    return this.#record(layer, { result, isBlobNew: saveBlob });
  }

  /** Removes record, link, mends and files of a layer, whatever of them is there. */
  async remove(diffId: Digest): Promise<void> {
    const { records, mends, links, descriptors, files } = this.#options;
    const record = records.get(diffId);
    if (record !== undefined) {
      await mends.removeOf(diffId);
      await records.remove(diffId);
      if (record.link !== undefined) await links.remove(record.link);
      await descriptors.drop(descriptorKey(record));
    }
    await files.discard(files.layer(diffId));
  }

  /** Has a stored layer brought to the disk in the background. */
  scheduleSync(record: LayerRecord, { isBlobNew }: { readonly isBlobNew: boolean }): void {
    const { durability, files, records } = this.#options;
    const path = files.layer(record.diffId);
    durability.schedule({
      ...filesOfLayer(record.form, path, isBlobNew ? record.blobPath : undefined),
      onSynced: () =>
        records.update(
          record.diffId,
          (current) =>
            current?.generation === record.generation ? { ...current, synced: true } : current,
          { inBackground: true },
        ),
    });
  }

  async #record(
    { diffId, digest, sizeBytes, blobPath }: LayerIdentity,
    { result, isBlobNew }: { readonly result: LayerResult; readonly isBlobNew: boolean },
  ): Promise<LayerRecord> {
    const { form, bootId, files, links, records } = this.#options;
    const record: LayerRecord = {
      diffId,
      digest,
      sizeBytes,
      blobPath,
      form,
      formatVersion: LAYER_FORMAT_VERSION,
      tarBytes: result.tarBytes,
      layerBytes: result.layerBytes,
      entries: result.entries,
      impliedDirectories: result.impliedDirectories.map((name) => name.toString('base64')),
      bootId,
      synced: false,
      generation: randomBytes(8).toString('hex'),
      ...(form === 'directory' ? { link: await links.create(files.layer(diffId)) } : {}),
    };
    await records.put(diffId, record, { inBackground: true });
    this.scheduleSync(record, { isBlobNew });
    return record;
  }
}

/** Name of the lock of a layer, and of its directory while it is being made. */
export function layerLock(diffId: Digest): string {
  return `layer-${digestHex(diffId)}`;
}

/** Under which the descriptor of a layer is kept: another making is another mount. */
export function descriptorKey(record: LayerRecord): string {
  return `${record.diffId} ${record.generation}`;
}
