import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { Digest } from '../digest.js';
import type { LayerForm, NativeBinding } from '../native.js';

/** What was published and must reach the disk. */
export interface Publication {
  /** Files, each brought to the disk with its directory; of a tree with too many of them its root, whose whole file system is. */
  readonly files: readonly string[];
  readonly tree?: string;
  /** Notes in a record that it is on the disk; not called when syncing failed. */
  readonly onSynced?: () => Promise<unknown>;
}

export interface LayerDurabilityOptions {
  /** How long nothing must have been fetched before the disk is bothered. */
  readonly quietMs?: number;
  /** Under a load that never ends, what was published waits this long at most. */
  readonly maxWaitMs?: number;
}

interface Waiting extends Publication {
  readonly since: number;
}

/**
 * Brings what was published to the disk in the background, when nothing is being fetched: a sync makes everything wait that needs the disk or its journal
 * meanwhile, the rest of the pull above all. What is still waiting when the process ends is left to the kernel, which writes it within half a minute.
 * A layer counts as durable once its record says `synced`; what a power cut leaves with another boot id and without that is not trusted.
 * @see ARCHITECTURE section 3, invariant 10
 */
export class LayerDurability {
  readonly #native: Pick<NativeBinding, 'syncFile' | 'syncFilesystem'>;
  readonly #quietMs: number;
  readonly #maxWaitMs: number;
  #waiting: Waiting[] = [];
  #fetches = 0;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;

  constructor(
    native: Pick<NativeBinding, 'syncFile' | 'syncFilesystem'>,
    { quietMs = 500, maxWaitMs = 15_000 }: LayerDurabilityOptions = {},
  ) {
    this.#native = native;
    this.#quietMs = quietMs;
    this.#maxWaitMs = maxWaitMs;
  }

  schedule(publication: Publication): void {
    this.#waiting.push({ ...publication, since: performance.now() });
    this.#wake();
  }

  /** Runs `action`, which fetches something; syncs are put off meanwhile. */
  async duringFetch<T>(action: () => Promise<T>): Promise<T> {
    this.#fetches++;
    try {
      return await action();
    } finally {
      this.#fetches--;
      this.#wake();
    }
  }

  /** Brings everything that waits to the disk now. */
  async settled(): Promise<void> {
    while (this.#running !== undefined || this.#waiting.length > 0) await this.#run();
  }

  /** Starts no more syncs, and waits for the one under way. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#waiting = [];
    await this.#running;
  }

  #wake(): void {
    const [oldest] = this.#waiting;
    if (oldest === undefined) return;
    const patienceMs = Math.max(0, oldest.since + this.#maxWaitMs - performance.now());
    clearTimeout(this.#timer);
    const delayMs = this.#fetches === 0 ? Math.min(this.#quietMs, patienceMs) : patienceMs;
    // A process that has nothing else to do ends.
    this.#timer = setTimeout(() => void this.#run(), delayMs).unref();
  }

  #run(): Promise<void> {
    this.#running ??= this.#syncAll().finally(() => {
      this.#running = undefined;
      this.#wake();
    });
    return this.#running;
  }

  /** One after the other: they are for the same disk. */
  async #syncAll(): Promise<void> {
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      // On failure the record stays unsynced: that is the report. The layer itself is whole in memory, and is checked after a reboot.
      await this.#sync(next).catch(() => undefined);
    }
  }

  async #sync({ files, tree, onSynced }: Publication): Promise<void> {
    for (const file of files) await this.#native.syncFile(file);
    if (tree !== undefined) await this.#native.syncFilesystem(tree);
    await onSynced?.();
  }
}

/** What a layer is made of on the disk, for {@link Publication}. */
export function filesOfLayer(
  form: LayerForm,
  path: string,
  blobPath?: string,
): Pick<Publication, 'files' | 'tree'> {
  // Syncing the file system of a tree takes the blob along.
  if (form === 'directory') return { files: [], tree: path };
  return { files: blobPath === undefined ? [path] : [path, blobPath] };
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
