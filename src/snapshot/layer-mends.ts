import { randomBytes } from 'node:crypto';
import { mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { chainId, type Digest, digestHex } from '../digest.js';
import type { LayerForm, NativeBinding } from '../native.js';
import type { Collection } from '../record-store.js';
import { filesOfLayer, type LayerDurability } from './layer-durability.js';
import type { LayerFiles } from './layer-files.js';
import type { LayerLinks } from './layer-links.js';
import type { LayerLocks } from './layer-lock.js';
import { LAYER_FORMAT_VERSION, type MendRecord } from './layer-record.js';

/** Bounds the mending of a hostile chain to about half a minute and a gigabyte; images that people made need thousands. */
const MAX_STEPS = 20_000_000;

export interface LayerMendsOptions {
  readonly form: LayerForm;
  readonly native: Pick<NativeBinding, 'buildMendLayer'>;
  readonly files: LayerFiles;
  readonly links: LayerLinks;
  readonly locks: LayerLocks;
  readonly records: Collection<MendRecord>;
  readonly durability: LayerDurability;
  readonly bootId: string;
}

/** A layer of a chain, open. */
export interface ChainLayer {
  readonly fd: number;
  /** As in `LayerRecord`. */
  readonly impliedDirectories: readonly string[];
}

/**
 * Mending layers, one for a chain of layers, under its chain ID. They hold nothing that cannot be made again from the layers, so one that is not trusted is
 * simply removed.
 */
export class LayerMends {
  readonly #options: LayerMendsOptions;

  constructor(options: LayerMendsOptions) {
    this.#options = options;
  }

  /** The mending layer of a chain, made on first use; the descriptors stay open until it settles. */
  async make(chain: readonly Digest[], layers: readonly ChainLayer[]): Promise<MendRecord> {
    const id = chainId(chain);
    const known = this.#trusted(id);
    if (known !== undefined) return known;
    return this.#options.locks.hold(mendLock(id), {
      action: async () => {
        const stored = this.#trusted(id);
        if (stored !== undefined) return stored;
        await this.#removeLocked(id);
        return this.#makeLocked({ id, chain, layers });
      },
    });
  }

  /** Removes the mends of every chain that contains this layer. */
  async removeOf(diffId: Digest): Promise<void> {
    for (const { id, value } of this.#options.records.list()) {
      if (value.chain.includes(diffId)) await this.#remove(id as Digest);
    }
  }

  /** Removes what did not reach the disk before the machine went down. */
  async removeUntrusted(): Promise<void> {
    for (const { id } of this.#options.records.list()) {
      if (this.#trusted(id as Digest) === undefined) await this.#remove(id as Digest);
    }
  }

  #trusted(id: Digest): MendRecord | undefined {
    const record = this.#options.records.get(id);
    if (record === undefined || record.formatVersion !== LAYER_FORMAT_VERSION) return undefined;
    return record.synced || record.bootId === this.#options.bootId ? record : undefined;
  }

  #remove(id: Digest): Promise<void> {
    return this.#options.locks.hold(mendLock(id), { action: () => this.#removeLocked(id) });
  }

  async #removeLocked(id: Digest): Promise<void> {
    const { records, links, files } = this.#options;
    const record = records.get(id);
    if (record !== undefined) await records.remove(id);
    if (record?.link !== undefined) await links.remove(record.link);
    await files.discard(files.mend(id));
  }

  async #makeLocked({
    id,
    chain,
    layers,
  }: {
    readonly id: Digest;
    readonly chain: readonly Digest[];
    readonly layers: readonly ChainLayer[];
  }): Promise<MendRecord> {
    const { native, files, links, form, records, bootId } = this.#options;
    const directory = files.ingest(mendLock(id));
    const path = files.mend(id);
    await files.removeNow(directory);
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      const result = await native.buildMendLayer({
        form,
        directory,
        maxSteps: MAX_STEPS,
        layers: layers.map(({ fd, impliedDirectories }) => ({
          fd,
          impliedDirectories: impliedDirectories.map((name) => Buffer.from(name, 'base64')),
        })),
      });
      if (result.written) await rename(join(directory, 'layer'), path);
      const hasLink = result.written && form === 'directory';
      const record: MendRecord = {
        id,
        chain,
        written: result.written,
        firstVisible: result.firstVisible,
        form,
        formatVersion: LAYER_FORMAT_VERSION,
        layerBytes: result.layerBytes,
        bootId,
        synced: !result.written,
        generation: randomBytes(8).toString('hex'),
        ...(hasLink ? { link: await links.create(path) } : {}),
      };
      await records.put(id, record, { inBackground: true });
      if (result.written) this.#scheduleSync(record);
      return record;
    } finally {
      await files.removeNow(directory);
    }
  }

  #scheduleSync(record: MendRecord): void {
    const { durability, files, records } = this.#options;
    durability.schedule({
      ...filesOfLayer(record.form, files.mend(record.id)),
      onSynced: () =>
        records.update(
          record.id,
          (current) =>
            current?.generation === record.generation ? { ...current, synced: true } : current,
          { inBackground: true },
        ),
    });
  }
}

/** Name of the lock of a mending layer, and of its directory while it is being made. */
function mendLock(id: Digest): string {
  return `mend-${digestHex(id)}`;
}
