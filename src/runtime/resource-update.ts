import type { CgroupResources } from '../native.js';
import type { ContainerResources } from './container-config.js';

/**
 * New limits over old ones. A memory limit that comes without one for memory and swap keeps the swap that was allowed before: the kernel knows only
 * their sum on v1, and refuses a sum below the memory.
 */
export function mergeResources(
  current: ContainerResources,
  changes: ContainerResources,
): ContainerResources {
  const merged = {
    ...current,
    ...changes,
    ...(changes.unified === undefined
      ? {}
      : { unified: { ...current.unified, ...changes.unified } }),
    ...(changes.hugepageLimits === undefined
      ? {}
      : { hugepageLimits: mergeHugepages(current.hugepageLimits ?? [], changes.hugepageLimits) }),
  };
  const memory = changes.memoryLimitBytes;
  const oldMemory = current.memoryLimitBytes ?? -1;
  const oldTogether = current.memorySwapLimitBytes ?? -1;
  const keepsSwap =
    memory !== undefined && changes.memorySwapLimitBytes === undefined && oldTogether >= 0;
  if (!keepsSwap) return merged;
  if (memory < 0) return { ...merged, memorySwapLimitBytes: -1 };
  return { ...merged, memorySwapLimitBytes: memory + Math.max(0, oldTogether - oldMemory) };
}

function mergeHugepages(
  current: NonNullable<ContainerResources['hugepageLimits']>,
  changes: NonNullable<ContainerResources['hugepageLimits']>,
): NonNullable<ContainerResources['hugepageLimits']> {
  const limits = new Map(current.map((limit) => [limit.pageSize, limit]));
  for (const limit of changes) limits.set(limit.pageSize, limit);
  return [...limits.values()];
}

/** What of the cgroup has to be written for `changes`, when `resources` are what holds afterwards. */
export function changedLimits(
  changes: ContainerResources,
  resources: ContainerResources,
): CgroupResources {
  const { oomScoreAdj: _ofProcesses, ...limits } = changes;
  const { memoryLimitBytes, memorySwapLimitBytes, cpuPeriodMicros } = resources;
  const touchesMemory =
    limits.memoryLimitBytes !== undefined || limits.memorySwapLimitBytes !== undefined;
  return {
    ...limits,
    // Both together: which is written first depends on whether the limits rise or fall.
    ...(touchesMemory && memoryLimitBytes !== undefined ? { memoryLimitBytes } : {}),
    ...(touchesMemory && memorySwapLimitBytes !== undefined ? { memorySwapLimitBytes } : {}),
    // v2 has one file for quota and period.
    ...(limits.cpuQuotaMicros !== undefined && cpuPeriodMicros !== undefined
      ? { cpuPeriodMicros }
      : {}),
  };
}
