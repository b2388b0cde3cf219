import { statfs } from 'node:fs/promises';
import { statePaths } from '../config.js';
import { NotFoundError } from '../errors.js';
import { type CgroupUsage, CgroupUsageReader } from '../sandbox/cgroup-usage.js';
import type { ContainerParts } from './container-parts.js';
import type { ContainerRecord } from './state.js';

/** What one container uses. */
export interface ContainerStats extends CgroupUsage {
  readonly containerId: string;
  readonly sandboxId: string;
  /** Absent when there is no writable layer (any more). */
  readonly writableLayer?: WritableLayerUsage;
}

/** What a container has written to its own layer, and the file system that holds it. */
export interface WritableLayerUsage {
  /** When it was measured: at most some seconds ago, or, while a large layer is measured, somewhat longer. */
  readonly atNanos: bigint;
  /** Allocated bytes. */
  readonly usedBytes: number;
  readonly usedInodes: number;
  /** Directory of all writable layers. */
  readonly mountpoint: string;
  readonly filesystem: {
    readonly sizeBytes: number;
    readonly availableBytes: number;
    readonly inodes: number;
    readonly freeInodes: number;
  };
}

/** A tree may be large: walking it for each of many callers would be most of the machine's work. */
const FRESH_MS = 10_000;
/** How long a caller waits for a new measurement when there is an older one. */
const PATIENCE_MS = 100;
const SWEEP_INTERVAL_MS = 60_000;

interface Measurement {
  last?: WritableLayerUsage;
  /** When `last` came, by the monotonic clock. */
  measuredAtMs?: number;
  pending?: Promise<WritableLayerUsage | undefined>;
}

/** Reads what containers use; see `ContainerService.stats`. */
export class ContainerStatsReader {
  readonly #parts: Pick<ContainerParts, 'config' | 'containers' | 'native' | 'snapshotter'>;
  readonly #usage: CgroupUsageReader;
  readonly #layers = new Map<string, Measurement>();
  #sweptAtMs = 0;

  constructor(parts: Pick<ContainerParts, 'config' | 'containers' | 'native' | 'snapshotter'>) {
    this.#parts = parts;
    this.#usage = new CgroupUsageReader(parts.native);
  }

  async read(
    id: string,
    { processes = false }: { readonly processes?: boolean } = {},
  ): Promise<ContainerStats> {
    const record = this.#parts.containers.get(id);
    if (record === undefined) throw new NotFoundError(`Container "${id}" does not exist`);
    const [usage, writableLayer] = await Promise.all([
      this.#usage.read(record.cgroup, { sinceNanos: startOf(record), processes }),
      this.#writableLayer(id),
    ]);
    return {
      containerId: id,
      sandboxId: record.sandboxId,
      ...usage,
      ...(writableLayer === undefined ? {} : { writableLayer }),
    };
  }

  async #writableLayer(id: string): Promise<WritableLayerUsage | undefined> {
    const known = this.#layers.get(id) ?? {};
    const { last, measuredAtMs = 0 } = known;
    if (last !== undefined && performance.now() - measuredAtMs < FRESH_MS) return last;
    this.#layers.set(id, known);
    known.pending ??= this.#measure(id)
      .then((usage) => {
        if (usage === undefined) {
          this.#layers.delete(id);
        } else {
          known.last = usage;
          known.measuredAtMs = performance.now();
        }
        return usage;
      })
      .finally(() => {
        delete known.pending;
        this.#forgetRemoved();
      });
    return last === undefined ? known.pending : beforeLong(known.pending, last);
  }

  async #measure(id: string): Promise<WritableLayerUsage | undefined> {
    const mountpoint = statePaths(this.#parts.config).active;
    try {
      const [{ bytes, inodes }, filesystem] = await Promise.all([
        this.#parts.snapshotter.usage(id),
        statfs(mountpoint),
      ]);
      return {
        atNanos: now(),
        usedBytes: bytes,
        usedInodes: inodes,
        mountpoint,
        filesystem: {
          sizeBytes: filesystem.blocks * filesystem.bsize,
          availableBytes: filesystem.bavail * filesystem.bsize,
          inodes: filesystem.files,
          freeInodes: filesystem.ffree,
        },
      };
    } catch (error) {
      if ((error as { code?: string }).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** At most once a minute: it asks for every container. */
  #forgetRemoved(): void {
    if (performance.now() - this.#sweptAtMs < SWEEP_INTERVAL_MS) return;
    this.#sweptAtMs = performance.now();
    for (const [id, { pending }] of this.#layers) {
      if (pending === undefined && !this.#parts.containers.has(id)) this.#layers.delete(id);
    }
  }
}

function startOf(record: ContainerRecord): bigint {
  return BigInt(record.startedAtNanos ?? record.createdAtNanos);
}

/** The new value if it comes soon, else the old one; the measurement goes on for the next caller. */
async function beforeLong<T>(pending: Promise<T>, old: T): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<T>((resolve) => {
    timer = setTimeout(() => resolve(old), PATIENCE_MS);
  });
  try {
    return await Promise.race([pending.catch(() => old), late]);
  } finally {
    clearTimeout(timer);
  }
}

function now(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}
