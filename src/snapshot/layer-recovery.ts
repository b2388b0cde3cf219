import { unlink } from 'node:fs/promises';
import type { Digest } from '../digest.js';
import type { NativeBinding } from '../native.js';
import type { Collection } from '../record-store.js';
import { hasContent } from './layer-durability.js';
import { exists, type LayerFiles } from './layer-files.js';
import type { LayerLocks } from './layer-lock.js';
import { type LayerMaker, layerLock } from './layer-maker.js';
import type { LayerMends } from './layer-mends.js';
import { LAYER_FORMAT_VERSION, type LayerRecord } from './layer-record.js';

/** What reading a damaged layer says: we, or the disk, or the file system, which has two words for its own checksums. */
const DAMAGE_CODES = new Set(['BAD_LAYER', 'ENOENT', 'EIO', 'EUCLEAN', 'EBADMSG']);

export interface LayerRecoveryOptions {
  readonly native: Pick<NativeBinding, 'digestLayerImage'>;
  readonly files: LayerFiles;
  readonly locks: LayerLocks;
  readonly maker: LayerMaker;
  readonly mends: LayerMends;
  readonly records: Collection<LayerRecord>;
  readonly bootId: string;
}

/**
 * Puts the layers of a root in order when it is opened: what processes that died left half made goes, and what had not reached the disk when the machine
 * went down is verified, or made again from its blob, or forgotten. What another version of cais stored in another format is made again too. Other processes may
 * use the root meanwhile.
 */
export class LayerRecovery {
  readonly #options: LayerRecoveryOptions;

  constructor(options: LayerRecoveryOptions) {
    this.#options = options;
  }

  async run(): Promise<void> {
    await this.#removeDeadIngests();
    await this.#removeUnrecorded();
    await this.#options.mends.removeUntrusted();
    await this.#repairSuspects();
  }

  /** An ingest under way holds the lock of its name. */
  async #removeDeadIngests(): Promise<void> {
    const { files, locks } = this.#options;
    for (const name of await files.listIngests()) {
      await locks.holdIfFree(name, () => files.removeNow(files.ingest(name)));
    }
  }

  /** Layers renamed into place by a process that died before it wrote the record. */
  async #removeUnrecorded(): Promise<void> {
    const { files, locks, maker, records } = this.#options;
    for (const hex of await files.listLayers()) {
      const diffId: Digest = `sha256:${hex}`;
      if (records.has(diffId)) continue;
      await locks.holdIfFree(layerLock(diffId), async () => {
        if (!records.has(diffId)) await maker.remove(diffId);
      });
    }
  }

  async #repairSuspects(): Promise<void> {
    const { locks, records } = this.#options;
    for (const { value } of records.list()) {
      if (!this.#isSuspect(value)) {
        if (!value.synced) await this.#syncLater(value);
        continue;
      }
      await locks.hold(layerLock(value.diffId), {
        action: async () => {
          const record = records.get(value.diffId);
          if (record !== undefined && this.#isSuspect(record)) await this.#repair(record);
        },
      });
    }
  }

  /** The process that made it ended before it was on the disk. */
  async #syncLater(record: LayerRecord): Promise<void> {
    this.#options.maker.scheduleSync(record, { isBlobNew: await exists(record.blobPath) });
  }

  #isSuspect(record: LayerRecord): boolean {
    const isUnsynced = !record.synced && record.bootId !== this.#options.bootId;
    return isUnsynced || record.formatVersion !== LAYER_FORMAT_VERSION;
  }

  async #repair(record: LayerRecord): Promise<void> {
    const { maker, records, bootId } = this.#options;
    if (await this.isIntact(record)) {
      const isBlobIntact = await hasContent(record.blobPath, record.digest);
      if (!isBlobIntact) await removeFile(record.blobPath);
      const trusted = { ...record, bootId };
      await records.put(record.diffId, trusted);
      maker.scheduleSync(trusted, { isBlobNew: isBlobIntact });
      return;
    }
    await maker.remove(record.diffId);
    if (!(await exists(record.blobPath))) return;
    try {
      await maker.makeFromBlob(record, new AbortController().signal);
    } catch {
      // A root on a full disk must still open, so that something can be removed. The layer is not stored now; who pulls its image makes it.
    }
  }

  /** Whether an image is what was written, every byte of it: any answer but a clear yes is a no. Of a tree nobody knows. */
  async isIntact(record: LayerRecord): Promise<boolean> {
    if (record.form !== 'image' || record.formatVersion !== LAYER_FORMAT_VERSION) return false;
    const { native, files } = this.#options;
    try {
      return (await native.digestLayerImage(files.layer(record.diffId))) === record.diffId;
    } catch (error) {
      if (DAMAGE_CODES.has((error as { code?: string }).code ?? '')) return false;
      throw error;
    }
  }
}

async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
