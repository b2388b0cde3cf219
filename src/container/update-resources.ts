import { FailedPreconditionError, NotFoundError } from '../errors.js';
import type { ContainerResources } from '../runtime/container-config.js';
import { changedLimits, mergeResources } from '../runtime/resource-update.js';
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
  if (record.state === 'running') {
    await parts.native.updateCgroup(record.cgroup, changedLimits(changes, resources));
    const { oomScoreAdj } = changes;
    if (oomScoreAdj !== undefined) await parts.native.setOomScore(record.cgroup, oomScoreAdj);
  }
  const updated = await parts.containers.update(
    id,
    (current) => current && withResources(current, resources),
    { essential: true },
  );
  if (updated === undefined) throw new NotFoundError(`Container "${id}" was removed`);
  return updated;
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
