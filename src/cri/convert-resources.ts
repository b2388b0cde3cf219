import type { ContainerResources } from '../runtime/container-config.js';
import { present, toNumber } from './convert.js';
import type { DeepPartial, LinuxContainerResources } from './generated/api.js';

/** Limits of a message. 0 and empty mean "not set", except for the OOM score, whose 0 is a value. */
export function toContainerResources(
  resources: LinuxContainerResources | undefined,
): ContainerResources {
  if (resources === undefined) return {};
  const set = (value: bigint, what: string) =>
    value === 0n ? undefined : toNumber(value, `resources.${what}`);
  return defined({
    cpuPeriodMicros: set(resources.cpuPeriod, 'cpu_period'),
    cpuQuotaMicros: set(resources.cpuQuota, 'cpu_quota'),
    cpuShares: set(resources.cpuShares, 'cpu_shares'),
    memoryLimitBytes: set(resources.memoryLimitInBytes, 'memory_limit_in_bytes'),
    memorySwapLimitBytes: set(resources.memorySwapLimitInBytes, 'memory_swap_limit_in_bytes'),
    oomScoreAdj: toNumber(resources.oomScoreAdj, 'resources.oom_score_adj'),
    cpusetCpus: present(resources.cpusetCpus),
    cpusetMems: present(resources.cpusetMems),
    // Every container of a kubelet has some, 0 mostly; the largest value stands for no limit.
    hugepageLimits:
      resources.hugepageLimits.length === 0
        ? undefined
        : resources.hugepageLimits.map(({ pageSize, limit }) => ({
            pageSize,
            limitBytes: Math.min(Number(limit), Number.MAX_SAFE_INTEGER),
          })),
    unified: Object.keys(resources.unified).length === 0 ? undefined : { ...resources.unified },
  });
}

/** Limits as a message; what is not set is left out. */
export function fromContainerResources(
  resources: ContainerResources,
): DeepPartial<LinuxContainerResources> {
  const int = (value: number | undefined) => BigInt(value ?? 0);
  return {
    cpuPeriod: int(resources.cpuPeriodMicros),
    cpuQuota: int(resources.cpuQuotaMicros),
    cpuShares: int(resources.cpuShares),
    memoryLimitInBytes: int(resources.memoryLimitBytes),
    memorySwapLimitInBytes: int(resources.memorySwapLimitBytes),
    oomScoreAdj: int(resources.oomScoreAdj),
    cpusetCpus: resources.cpusetCpus ?? '',
    cpusetMems: resources.cpusetMems ?? '',
    hugepageLimits: (resources.hugepageLimits ?? []).map(({ pageSize, limitBytes }) => ({
      pageSize,
      limit: BigInt(limitBytes),
    })),
    unified: { ...resources.unified },
  };
}

function defined<T extends object>(entries: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const kept = Object.entries(entries).filter(([, value]) => value !== undefined);
  return Object.fromEntries(kept) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
