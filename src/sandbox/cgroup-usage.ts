import type { CgroupStats } from '../cgroup-stats.js';
import type { NativeBinding } from '../native.js';

/** What one cgroup uses at one time, with what follows from it. */
export interface CgroupUsage {
  /** When it was read. */
  readonly atNanos: bigint;
  /** All zeros where nothing runs. */
  readonly cgroup: CgroupStats;
  /** Nanoseconds of CPU a second, between two readings at least a second apart, or since the start for the first one. Absent where nothing runs. */
  readonly cpuUsageNanoCores?: number;
  /** Up to the memory limit; absent without one. */
  readonly memoryAvailableBytes?: number;
  /** Up to the swap limit; absent without one. */
  readonly swapAvailableBytes?: number;
}

/** Usage of a cgroup in which nothing runs. */
export const NO_USAGE: CgroupStats = {
  cpuUsageNanos: 0,
  cpuUserNanos: 0,
  cpuSystemNanos: 0,
  cpuPeriods: 0,
  cpuThrottledPeriods: 0,
  cpuThrottledNanos: 0,
  memoryUsageBytes: 0,
  memoryWorkingSetBytes: 0,
  memoryLimitBytes: -1,
  memoryRssBytes: 0,
  memoryCacheBytes: 0,
  memoryMappedFileBytes: 0,
  memoryKernelBytes: 0,
  memorySwapBytes: 0,
  memorySwapLimitBytes: -1,
  memoryMaxUsageBytes: 0,
  memoryFailures: 0,
  pageFaults: 0,
  majorPageFaults: 0,
  pids: 0,
  pidsLimit: -1,
  oomKills: 0,
  devices: [],
  hugepages: [],
};

/** Shorter windows say more about the moment of the reading than about the container. */
const SHORTEST_WINDOW_MS = 1000;
/** Readings of this age are forgotten when there are many: nobody asks for that cgroup any more. */
const FORGOTTEN_AFTER_MS = 600_000;
const MANY_READINGS = 1024;

interface Reading {
  /** By the monotonic clock: the machine's own may be set meanwhile. */
  readonly atMs: number;
  readonly cpuUsageNanos: number;
  readonly rate: number;
}

/** Reads what cgroups use and remembers the last reading of each: a rate needs two. Nothing is read but when somebody asks. */
export class CgroupUsageReader {
  readonly #native: Pick<NativeBinding, 'readCgroupStats'>;
  readonly #readings = new Map<string, Reading>();

  constructor(native: Pick<NativeBinding, 'readCgroupStats'>) {
    this.#native = native;
  }

  /** `sinceNanos`: when the cgroup was made. `processes` counts processes and their descriptors too. */
  async read(
    cgroup: string,
    options: { readonly sinceNanos: bigint; readonly processes: boolean },
  ): Promise<CgroupUsage> {
    const stats = await this.#readStats(cgroup, options.processes);
    const atNanos = nowNanos();
    if (stats === undefined) {
      this.#readings.delete(cgroup);
      return { atNanos, cgroup: NO_USAGE };
    }
    const { memoryLimitBytes, memoryWorkingSetBytes, memorySwapLimitBytes, memorySwapBytes } =
      stats;
    return {
      atNanos,
      cgroup: stats,
      cpuUsageNanoCores: this.#rate(cgroup, {
        atNanos,
        sinceNanos: options.sinceNanos,
        cpuUsageNanos: stats.cpuUsageNanos,
      }),
      ...(memoryLimitBytes < 0
        ? {}
        : { memoryAvailableBytes: Math.max(0, memoryLimitBytes - memoryWorkingSetBytes) }),
      ...(memorySwapLimitBytes < 0
        ? {}
        : { swapAvailableBytes: Math.max(0, memorySwapLimitBytes - memorySwapBytes) }),
    };
  }

  async #readStats(cgroup: string, processes: boolean): Promise<CgroupStats | undefined> {
    try {
      return await this.#native.readCgroupStats(cgroup, { processes });
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === 'ENOENT' || code === 'ENODEV') return undefined;
      throw error;
    }
  }

  #rate(
    cgroup: string,
    now: { readonly atNanos: bigint; readonly sinceNanos: bigint; readonly cpuUsageNanos: number },
  ): number {
    const last = this.#readings.get(cgroup);
    const atMs = performance.now();
    const windowMs =
      last === undefined ? Number(now.atNanos - now.sinceNanos) / 1e6 : atMs - last.atMs;
    if (last !== undefined && windowMs < SHORTEST_WINDOW_MS) return last.rate;
    const usedNanos = Math.max(0, now.cpuUsageNanos - (last?.cpuUsageNanos ?? 0));
    // The clock may have been set back since the start, and a container may be younger than its clock's tick.
    const rate = windowMs <= 0 ? 0 : Math.round((usedNanos * 1000) / windowMs);
    this.#forgetOld(atMs);
    this.#readings.set(cgroup, { atMs, cpuUsageNanos: now.cpuUsageNanos, rate });
    return rate;
  }

  #forgetOld(atMs: number): void {
    if (this.#readings.size < MANY_READINGS) return;
    for (const [cgroup, reading] of this.#readings) {
      if (atMs - reading.atMs > FORGOTTEN_AFTER_MS) this.#readings.delete(cgroup);
    }
  }
}

function nowNanos(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}
