import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { Digest } from '../digest.js';
import type { LayerForm, NativeBinding } from '../native.js';

/** What was published and must reach the disk. */
export interface Publication {
  readonly form: LayerForm;
  /** The layer; a file or a tree. */
  readonly path: string;
  /** The blob, where it was written too. */
  readonly blobPath?: string;
  /** Notes in the record that it is on the disk; not called when syncing failed. */
  readonly onSynced: () => Promise<unknown>;
}

/**
 * Brings published layers to the disk in the background: pulling does not wait for it. A layer counts as durable once its record says `synced`; what a
 * power cut leaves with another boot id and without that is not trusted. @see ARCHITECTURE section 3, invariant 10
 */
export class LayerDurability {
  readonly #native: Pick<NativeBinding, 'syncFile' | 'syncFilesystem'>;
  readonly #running = new Set<Promise<void>>();

  constructor(native: Pick<NativeBinding, 'syncFile' | 'syncFilesystem'>) {
    this.#native = native;
  }

  schedule(publication: Publication): void {
    const work = this.#sync(publication)
      // The record stays unsynced: that is the report. The layer itself is whole in memory, and is checked after a reboot.
      .catch(() => undefined)
      .finally(() => this.#running.delete(work));
    this.#running.add(work);
  }

  /** Waits for the syncs under way. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  async #sync({ form, path, blobPath, onSynced }: Publication): Promise<void> {
    if (form === 'image') {
      await this.#native.syncFile(path);
      if (blobPath !== undefined) await this.#native.syncFile(blobPath);
    } else {
      // A tree has too many files for one fsync each; this takes the blob along.
      await this.#native.syncFilesystem(path);
    }
    await onSynced();
  }
}

/** Whether the file has exactly this content. Reads it once; false also when it cannot be read. */
export async function hasContent(path: string, digest: Digest): Promise<boolean> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) {
      hash.update(chunk as Buffer);
    }
  } catch {
    return false;
  }
  return `sha256:${hash.digest('hex')}` === digest;
}
