/** What a cgroup and those below it use. Of a controller that is not there: 0 or nothing. */
export interface CgroupStats {
  readonly cpuUsageNanos: number;
  readonly cpuUserNanos: number;
  readonly cpuSystemNanos: number;
  /** Enforcement intervals of the CPU quota, and those in which it ran out. */
  readonly cpuPeriods: number;
  readonly cpuThrottledPeriods: number;
  readonly cpuThrottledNanos: number;
  readonly memoryUsageBytes: number;
  /** Usage without file pages that have not been touched for a while. */
  readonly memoryWorkingSetBytes: number;
  /** -1: no limit. */
  readonly memoryLimitBytes: number;
  readonly memoryRssBytes: number;
  readonly memoryCacheBytes: number;
  readonly memoryMappedFileBytes: number;
  readonly memoryKernelBytes: number;
  readonly memorySwapBytes: number;
  /** Of swap alone; -1: no limit. */
  readonly memorySwapLimitBytes: number;
  /** Since the cgroup was made; 0 where the kernel does not remember. */
  readonly memoryMaxUsageBytes: number;
  /** How often the limit was met. */
  readonly memoryFailures: number;
  readonly pageFaults: number;
  readonly majorPageFaults: number;
  /** Threads, as the kernel counts them. */
  readonly pids: number;
  /** -1: no limit. */
  readonly pidsLimit: number;
  readonly oomKills: number;
  readonly devices: readonly DeviceIo[];
  readonly hugepages: readonly HugepageUsage[];
  /** Absent where the kernel has no pressure stall information for cgroups (it needs a v2 tree). */
  readonly cpuPressure?: Pressure;
  readonly memoryPressure?: Pressure;
  readonly ioPressure?: Pressure;
  /** Only when asked for. */
  readonly processes?: ProcessCounts;
}

/** Transfers of one block device. */
export interface DeviceIo {
  /** `vda`; empty when the kernel no longer knows it. */
  readonly name: string;
  readonly major: number;
  readonly minor: number;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly reads: number;
  readonly writes: number;
}

export interface HugepageUsage {
  /** `2MB` */
  readonly pageSize: string;
  readonly usageBytes: number;
  /** 0 where the kernel does not remember. */
  readonly maxUsageBytes: number;
  readonly failures: number;
}

/** Pressure stall information: waits of at least one task, and of all at once. @see Documentation/accounting/psi.rst */
export interface Pressure {
  readonly some: PressureLine;
  readonly full: PressureLine;
}

export interface PressureLine {
  /** Percent of the last 10, 60 and 300 seconds. */
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
  readonly totalMicros: number;
}

export interface ProcessCounts {
  readonly processes: number;
  readonly threads: number;
  readonly descriptors: number;
  /** Among the descriptors. */
  readonly sockets: number;
  /** Of the first process; -1: none. */
  readonly openFilesSoftLimit: number;
}
