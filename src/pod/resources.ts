import type { CgroupResources } from '../native.js';
import type { ContainerResources as ResourceFields } from '../objects/container-schema.js';
import type { Pod } from '../objects/defaults.js';
import { milliUnits, parseQuantity, wholeUnits } from '../objects/quantity.js';
import type { ContainerResources } from '../runtime/container-config.js';

const CPU_PERIOD_MICROS = 100_000;
const CPU_QUOTA_MIN_MICROS = 1000;
const CPU_SHARES_MIN = 2;
const CPU_SHARES_MAX = 262_144;

const OOM_SCORE_GUARANTEED = -997;
const OOM_SCORE_BEST_EFFORT = 1000;

/** Quality of service of a pod, which decides who is killed first when memory runs out. */
export type QosClass = 'Guaranteed' | 'Burstable' | 'BestEffort';

/** Whole amounts of one container; absent: not asked for. */
interface Amounts {
  readonly cpuMillis?: number;
  readonly memoryBytes?: number;
}

/** @see contracts/kubernetes-semantics.md I45 */
export function qosClass(pod: Pod): QosClass {
  const all = [...pod.spec.initContainers, ...pod.spec.containers].map(({ resources }) => ({
    limits: amountsOf(resources?.limits),
    requests: amountsOf(resources?.requests),
  }));
  const isSet = (amounts: Amounts) => Boolean(amounts.cpuMillis) || Boolean(amounts.memoryBytes);
  if (!all.some(({ limits, requests }) => isSet(limits) || isSet(requests))) return 'BestEffort';
  const isGuaranteed = all.every(
    ({ limits, requests }) =>
      limits.cpuMillis &&
      limits.memoryBytes &&
      limits.cpuMillis === requests.cpuMillis &&
      limits.memoryBytes === requests.memoryBytes,
  );
  return isGuaranteed ? 'Guaranteed' : 'Burstable';
}

/**
 * Limits of one container as the kubelet computes them: shares from the CPU request, quota from the CPU limit, no swap beyond the memory limit.
 * @see contracts/kubernetes-semantics.md I46, I48, I50, I51
 */
export function containerResources(
  fields: ResourceFields | undefined,
  { qos, nodeMemoryBytes }: { qos: QosClass; nodeMemoryBytes: number },
): ContainerResources {
  const limits = amountsOf(fields?.limits);
  const requests = amountsOf(fields?.requests);
  return {
    ...cgroupResources(limits, requests),
    oomScoreAdj: oomScore(requests.memoryBytes ?? 0, { qos, nodeMemoryBytes }),
  };
}

/**
 * Limits of the pod's own cgroup: shares of all containers together; quota and memory only when every container declares that limit.
 * Init containers run alone, so the largest of them counts, where it is larger than the sum of the others.
 * @see contracts/kubernetes-semantics.md I49
 */
export function podResources(pod: Pod): CgroupResources {
  const main = pod.spec.containers.map(({ resources }) => resources);
  const init = pod.spec.initContainers.map(({ resources }) => resources);
  const total = (kind: 'limits' | 'requests', field: keyof Amounts): number => {
    const amount = (fields: ResourceFields | undefined) => amountsOf(fields?.[kind])[field] ?? 0;
    const sum = main.reduce((so, fields) => so + amount(fields), 0);
    return Math.max(sum, ...init.map(amount));
  };
  const isDeclaredByAll = (field: keyof Amounts) =>
    [...main, ...init].every((fields) => Boolean(amountsOf(fields?.limits)[field]));
  return cgroupResources(
    {
      ...(isDeclaredByAll('cpuMillis') ? { cpuMillis: total('limits', 'cpuMillis') } : {}),
      ...(isDeclaredByAll('memoryBytes') ? { memoryBytes: total('limits', 'memoryBytes') } : {}),
    },
    { cpuMillis: total('requests', 'cpuMillis') },
  );
}

function cgroupResources(limits: Amounts, requests: Amounts): CgroupResources {
  return {
    cpuShares: cpuShares(requests.cpuMillis ?? 0),
    ...(limits.cpuMillis
      ? { cpuQuotaMicros: cpuQuota(limits.cpuMillis), cpuPeriodMicros: CPU_PERIOD_MICROS }
      : {}),
    ...(limits.memoryBytes
      ? { memoryLimitBytes: limits.memoryBytes, memorySwapLimitBytes: limits.memoryBytes }
      : {}),
  };
}

function cpuShares(milliCpu: number): number {
  const shares = Math.floor((milliCpu * 1024) / 1000);
  return Math.min(Math.max(shares, CPU_SHARES_MIN), CPU_SHARES_MAX);
}

function cpuQuota(milliCpu: number): number {
  return Math.max(Math.floor((milliCpu * CPU_PERIOD_MICROS) / 1000), CPU_QUOTA_MIN_MICROS);
}

function oomScore(
  memoryRequestBytes: number,
  { qos, nodeMemoryBytes }: { qos: QosClass; nodeMemoryBytes: number },
): number {
  if (qos === 'Guaranteed') return OOM_SCORE_GUARANTEED;
  if (qos === 'BestEffort') return OOM_SCORE_BEST_EFFORT;
  const score = 1000 - Math.floor((1000 * memoryRequestBytes) / nodeMemoryBytes);
  // Below 3 it would pass for Guaranteed, at 1000 for BestEffort.
  return Math.min(Math.max(score, 1000 + OOM_SCORE_GUARANTEED), OOM_SCORE_BEST_EFFORT - 1);
}

function amountsOf(fields: ResourceFields['limits']): Amounts {
  return {
    ...(fields?.cpu === undefined ? {} : { cpuMillis: milliUnits(parseQuantity(fields.cpu)) }),
    ...(fields?.memory === undefined
      ? {}
      : { memoryBytes: wholeUnits(parseQuantity(fields.memory)) }),
  };
}
