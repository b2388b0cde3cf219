import type { Pressure, PressureLine } from '../cgroup-stats.js';
import type { ContainerStats } from '../container/container-stats.js';
import type { ContainerRecord } from '../container/state.js';
import type { FilesystemUsage } from '../image/disk-usage.js';
import type { CgroupUsage } from '../sandbox/cgroup-usage.js';
import type { InterfaceCounters } from '../sandbox/network-counters.js';
import type { SandboxRecord } from '../sandbox/sandbox-record.js';
import type { SandboxStats } from '../sandbox/stats.js';
import { hasLabels, uint64 } from './convert.js';
import { fromSandboxMetadata } from './convert-sandbox.js';
import type {
  ContainerStatsFilter,
  ContainerStats as ContainerStatsMessage,
  CpuUsage,
  DeepPartial,
  FilesystemUsage as FilesystemUsageMessage,
  MemoryUsage,
  NetworkInterfaceUsage,
  PodSandboxStats,
  PodSandboxStatsFilter,
  PsiData,
  PsiStats,
} from './generated/api.js';

/** The message of what a container uses. */
export function fromContainerUsage(
  { id, config }: ContainerRecord,
  usage: ContainerStats,
): DeepPartial<ContainerStatsMessage> {
  const { atNanos: timestamp, writableLayer, swapAvailableBytes } = usage;
  return {
    attributes: {
      id,
      metadata: { name: config.name, attempt: config.attempt },
      labels: config.labels,
      annotations: config.annotations,
    },
    cpu: fromCpu(usage),
    memory: fromMemory(usage),
    ...(writableLayer === undefined ? {} : { writableLayer: fromFilesystem(writableLayer) }),
    swap: {
      timestamp,
      swapUsageBytes: uint64(usage.cgroup.memorySwapBytes),
      swapAvailableBytes: uint64(swapAvailableBytes),
    },
    ...fromIo(usage),
  };
}

/** The message of what a sandbox uses, with its containers. */
export function fromSandboxUsage(
  { id, config }: SandboxRecord,
  usage: SandboxStats,
  containers: readonly DeepPartial<ContainerStatsMessage>[],
): DeepPartial<PodSandboxStats> {
  const { atNanos: timestamp, network } = usage;
  const interfaces = network?.map(fromInterface);
  const { processes, pids } = usage.cgroup;
  return {
    attributes: {
      id,
      metadata: fromSandboxMetadata(config),
      labels: config.labels,
      annotations: config.annotations,
    },
    linux: {
      cpu: fromCpu(usage),
      memory: fromMemory(usage),
      ...(interfaces === undefined
        ? {}
        : { network: { timestamp, defaultInterface: interfaces[0], interfaces } }),
      process: { timestamp, processCount: uint64(processes?.processes ?? pids) },
      containers: [...containers],
      ...fromIo(usage),
    },
  };
}

/** The message of how full a file system is. */
export function fromFilesystem(usage: FilesystemUsage): DeepPartial<FilesystemUsageMessage> {
  return {
    timestamp: usage.atNanos,
    fsId: { mountpoint: usage.mountpoint },
    usedBytes: uint64(usage.usedBytes),
    inodesUsed: uint64(usage.usedInodes),
  };
}

function fromCpu({ atNanos, cgroup, cpuUsageNanoCores }: CgroupUsage): DeepPartial<CpuUsage> {
  return {
    timestamp: atNanos,
    usageCoreNanoSeconds: uint64(cgroup.cpuUsageNanos),
    usageNanoCores: uint64(cpuUsageNanoCores ?? 0),
    ...fromPressure(cgroup.cpuPressure),
  };
}

function fromMemory({
  atNanos,
  cgroup,
  memoryAvailableBytes,
}: CgroupUsage): DeepPartial<MemoryUsage> {
  return {
    timestamp: atNanos,
    workingSetBytes: uint64(cgroup.memoryWorkingSetBytes),
    availableBytes: uint64(memoryAvailableBytes),
    usageBytes: uint64(cgroup.memoryUsageBytes),
    rssBytes: uint64(cgroup.memoryRssBytes),
    pageFaults: uint64(cgroup.pageFaults),
    majorPageFaults: uint64(cgroup.majorPageFaults),
    ...fromPressure(cgroup.memoryPressure),
  };
}

/** Of block devices only the pressure is asked for; no message where the kernel does not measure it. */
function fromIo({ atNanos, cgroup }: CgroupUsage) {
  return cgroup.ioPressure === undefined
    ? {}
    : { io: { timestamp: atNanos, ...fromPressure(cgroup.ioPressure) } };
}

function fromPressure(pressure: Pressure | undefined): { psi?: DeepPartial<PsiStats> } {
  if (pressure === undefined) return {};
  return { psi: { Full: fromLine(pressure.full), Some: fromLine(pressure.some) } };
}

function fromLine({ avg10, avg60, avg300, totalMicros }: PressureLine): DeepPartial<PsiData> {
  return { Total: BigInt(Math.trunc(totalMicros)), Avg10: avg10, Avg60: avg60, Avg300: avg300 };
}

function fromInterface(usage: InterfaceCounters): DeepPartial<NetworkInterfaceUsage> {
  return {
    name: usage.name,
    rxBytes: uint64(usage.rxBytes),
    rxErrors: uint64(usage.rxErrors),
    txBytes: uint64(usage.txBytes),
    txErrors: uint64(usage.txErrors),
  };
}

/** Whether a container meets every condition of a filter. */
export function matchesContainerStats(
  record: ContainerRecord,
  filter: ContainerStatsFilter | undefined,
): boolean {
  return (
    filter === undefined ||
    (record.id.startsWith(filter.id) &&
      record.sandboxId.startsWith(filter.podSandboxId) &&
      hasLabels(record.config.labels, filter.labelSelector))
  );
}

/** Whether a sandbox meets every condition of a filter. */
export function matchesSandboxStats(
  record: SandboxRecord,
  filter: PodSandboxStatsFilter | undefined,
): boolean {
  return (
    filter === undefined ||
    (record.id.startsWith(filter.id) && hasLabels(record.config.labels, filter.labelSelector))
  );
}
