import { FailedPreconditionError, NotFoundError } from '../errors.js';
import type { CgroupResources } from '../native.js';
import type { ContainerResources } from '../runtime/container-config.js';
import { checkResources, specResources } from '../runtime/resources.js';
import type { ContainerParts } from './container-parts.js';
import type { ContainerRecord } from './state.js';

/** See `ContainerService.updateResources`; the caller holds the container's lock. */
export async function updateContainerResources(
  parts: Pick<ContainerParts, 'containers' | 'native'>,
  id: string,
  changes: ContainerResources,
): Promise<ContainerRecord> {
  checkResources(changes);
  const record = parts.containers.get(id);
  if (record === undefined) throw new NotFoundError(`Container "${id}" does not exist`);
  if (record.state !== 'created' && record.state !== 'running') {
    throw new FailedPreconditionError(
      `Cannot update the resources of container "${record.config.name}": it is ${record.state}`,
    );
  }
  const resources = mergeResources(record.config.resources, changes);
  checkResources(resources);
  // A container that has not started has no cgroup yet: it is made with these limits.
  if (record.state === 'running') await apply(parts, record, { changes, resources });
  const updated = await parts.containers.update(
    id,
    (current) => current && withResources(current, resources),
    { essential: true },
  );
  if (updated === undefined) throw new NotFoundError(`Container "${id}" was removed`);
  return updated;
}

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

async function apply(
  { native }: Pick<ContainerParts, 'native'>,
  { cgroup }: ContainerRecord,
  { changes, resources }: { changes: ContainerResources; resources: ContainerResources },
): Promise<void> {
  const { oomScoreAdj, ...limits } = changes;
  const { memoryLimitBytes, memorySwapLimitBytes, cpuPeriodMicros } = resources;
  const touchesMemory =
    limits.memoryLimitBytes !== undefined || limits.memorySwapLimitBytes !== undefined;
  const wanted: CgroupResources = {
    ...limits,
    // Both together: which is written first depends on whether the limits rise or fall.
    ...(touchesMemory && memoryLimitBytes !== undefined ? { memoryLimitBytes } : {}),
    ...(touchesMemory && memorySwapLimitBytes !== undefined ? { memorySwapLimitBytes } : {}),
    // v2 has one file for quota and period.
    ...(limits.cpuQuotaMicros !== undefined && cpuPeriodMicros !== undefined
      ? { cpuPeriodMicros }
      : {}),
  };
  await native.updateCgroup(cgroup, wanted);
  if (oomScoreAdj !== undefined) await native.setOomScore(cgroup, oomScoreAdj);
}

/** The record with other limits; device rules stay. */
function withResources(record: ContainerRecord, resources: ContainerResources): ContainerRecord {
  const { spec, config } = record;
  const changed = { ...record, config: { ...config, resources } };
  if (spec === undefined) return changed;
  const limits = specResources(resources, { privileged: config.security.privileged });
  const { oomScoreAdj } = resources;
  return {
    ...changed,
    spec: {
      ...spec,
      process: { ...spec.process, ...(oomScoreAdj === undefined ? {} : { oomScoreAdj }) },
      linux: {
        ...spec.linux,
        resources: { ...limits, devices: spec.linux.resources.devices },
      },
    },
  };
}
