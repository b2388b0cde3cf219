import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { StatePaths } from '../config.js';
import type { NativeBinding, TreeUsage } from '../native.js';
import { SingleFlight } from '../single-flight.js';

/** How much of a file system something takes. */
export interface FilesystemUsage {
  /** A directory on that file system: equal for images and containers as long as they share one. */
  readonly mountpoint: string;
  /** When it was measured, nanoseconds since 1970. */
  readonly atNanos: bigint;
  /** Allocated, so without the holes of sparse files. */
  readonly usedBytes: number;
  readonly usedInodes: number;
}

/** Disk use of one root. */
export interface ImageFilesystems {
  /** Blobs and layers, those that are being fetched included. */
  readonly images: FilesystemUsage;
  /** Writable layers of containers. */
  readonly containers: FilesystemUsage;
}

export interface DiskUsageOptions {
  readonly paths: StatePaths;
  readonly native: Pick<NativeBinding, 'treeUsage'>;
}

/** A measurement is good for this many times as long as it took: a kubelet that asks every ten seconds costs a thread at most a tenth of its time. */
const VALIDITY_FACTOR = 10;
/** Trees that are measured at the same time. */
const PARALLEL_TREES = 4;
const BLOCK_BYTES = 512;

const NOTHING: TreeUsage = { bytes: 0, inodes: 0 };

/**
 * Measures what is really on the disk. Layers do not change once they are stored, so each is measured once; blobs are files of one directory; writable layers are
 * walked every time.
 */
export class DiskUsage {
  readonly #options: DiskUsageOptions;
  /** By path. */
  #layers = new Map<string, TreeUsage>();
  readonly #measurements = new SingleFlight<ImageFilesystems>();
  #last: { readonly value: ImageFilesystems; readonly untilMs: number } | undefined;

  constructor(options: DiskUsageOptions) {
    this.#options = options;
  }

  /** Measures, or answers what was measured a moment ago. */
  measure(): Promise<ImageFilesystems> {
    if (this.#last !== undefined && performance.now() < this.#last.untilMs) {
      return Promise.resolve(this.#last.value);
    }
    return this.#measurements.run('all', () => this.#measure());
  }

  async #measure(): Promise<ImageFilesystems> {
    const start = performance.now();
    const { root, active, blobs, ingest, layers, mends, ociIndex } = this.#options.paths;
    const fixed = [...(await entriesOf(layers)), ...(await entriesOf(mends))];
    const images = add([
      await this.#fixedTrees([...fixed, join(layers, '..', 'empty')]),
      await this.#tree(blobs),
      await this.#tree(ociIndex),
      await this.#each(await entriesOf(ingest)),
    ]);
    const containers = await this.#each(await entriesOf(active));
    const atNanos = BigInt(Date.now()) * 1_000_000n;
    const [device, activeDevice] = [await deviceOf(root), await deviceOf(active)];
    const usage = (mountpoint: string, { bytes, inodes }: TreeUsage): FilesystemUsage => ({
      mountpoint,
      atNanos,
      usedBytes: bytes,
      usedInodes: inodes,
    });
    const value = {
      images: usage(root, images),
      containers: usage(device === activeDevice ? root : active, containers),
    };
    const end = performance.now();
    this.#last = { value, untilMs: end + (end - start) * VALIDITY_FACTOR };
    return value;
  }

  /** Trees that do not change: only new ones are measured, those that are gone are forgotten. */
  async #fixedTrees(paths: readonly string[]): Promise<TreeUsage> {
    const known = this.#layers;
    this.#layers = new Map();
    return this.#each(paths, async (path) => {
      const usage = known.get(path) ?? (await this.#tree(path));
      this.#layers.set(path, usage);
      return usage;
    });
  }

  async #each(
    paths: readonly string[],
    measure = (path: string) => this.#tree(path),
  ): Promise<TreeUsage> {
    const pending = [...paths];
    let sum = NOTHING;
    const work = async () => {
      for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
        const usage = await measure(path);
        sum = add([sum, usage]);
      }
    };
    await Promise.all(Array.from({ length: PARALLEL_TREES }, work));
    return sum;
  }

  /** A file or everything below a directory; nothing when it is not there (any more). */
  async #tree(path: string): Promise<TreeUsage> {
    try {
      const stats = await stat(path);
      if (stats.isDirectory()) return await this.#options.native.treeUsage(path);
      return { bytes: stats.blocks * BLOCK_BYTES, inodes: 1 };
    } catch (error) {
      const { code } = error as { code?: unknown };
      // ESTALE: it was moved to the trash during the walk.
      if (code === 'ENOENT' || code === 'ESTALE') return NOTHING;
      throw error;
    }
  }
}

async function entriesOf(directory: string): Promise<string[]> {
  try {
    const names = await readdir(directory);
    return names.map((name) => join(directory, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function add(usages: readonly TreeUsage[]): TreeUsage {
  return usages.reduce(
    (sum, { bytes, inodes }) => ({ bytes: sum.bytes + bytes, inodes: sum.inodes + inodes }),
    NOTHING,
  );
}

/** Undefined: it is not there yet, and will be made on the file system of its parent. */
async function deviceOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).dev;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
