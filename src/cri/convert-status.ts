import type { ContainerRecord } from '../container/state.js';
import type { ImageRecord } from '../image/image-store.js';
import type { ContainerMount } from '../runtime/container-config.js';
import { hasLabels, nanos } from './convert.js';
import { fromContainerResources } from './convert-resources.js';
import { fromSignalNumber } from './convert-signal.js';
import {
  type ContainerFilter,
  type Container as ContainerMessage,
  ContainerState,
  type ContainerStatus,
  type DeepPartial,
  type Mount,
  MountPropagation,
} from './generated/api.js';

const STATES = {
  creating: ContainerState.CONTAINER_CREATED,
  created: ContainerState.CONTAINER_CREATED,
  running: ContainerState.CONTAINER_RUNNING,
  exited: ContainerState.CONTAINER_EXITED,
  unknown: ContainerState.CONTAINER_UNKNOWN,
} as const;

const PROPAGATIONS = {
  private: MountPropagation.PROPAGATION_PRIVATE,
  hostToContainer: MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
  bidirectional: MountPropagation.PROPAGATION_BIDIRECTIONAL,
} as const;

/** The message of a container in a list. Its image is named by the same id here and in every other answer. */
export function fromContainer(record: ContainerRecord): DeepPartial<ContainerMessage> {
  const { config, imageId } = record;
  return {
    id: record.id,
    podSandboxId: record.sandboxId,
    metadata: { name: config.name, attempt: config.attempt },
    image: fromImageSpec(record),
    imageRef: imageId,
    imageId,
    state: STATES[record.state],
    createdAt: nanos(record.createdAtNanos),
    labels: config.labels,
    annotations: config.annotations,
  };
}

/** Finds a stored image by any of its names. */
export type FindImage = (name: string) => ImageRecord | undefined;

/** The message of one container in full. */
export function fromContainerStatus(
  record: ContainerRecord,
  findImage: FindImage,
): DeepPartial<ContainerStatus> {
  const { config, exit, imageId, spec } = record;
  // A container that never ran has no start; one that is running must have one, or a kubelet takes it for not started.
  const startedAt = exit?.startedAtNanos ?? record.startedAtNanos;
  const user = spec?.process.user;
  return {
    id: record.id,
    metadata: { name: config.name, attempt: config.attempt },
    state: STATES[record.state],
    createdAt: nanos(record.createdAtNanos),
    startedAt: nanos(startedAt),
    finishedAt: nanos(exit?.finishedAtNanos),
    exitCode: exit?.exitCode ?? 0,
    image: fromImageSpec(record),
    imageRef: findImage(imageId)?.repoDigests[0] ?? imageId,
    imageId,
    reason: exit?.reason ?? '',
    message: exit?.message ?? '',
    labels: config.labels,
    annotations: config.annotations,
    mounts: config.mounts.flatMap((mount) => fromMount(mount, findImage)),
    logPath: record.logPath ?? '',
    resources: { linux: fromContainerResources(config.resources) },
    ...(user === undefined
      ? {}
      : {
          user: {
            linux: {
              uid: BigInt(user.uid),
              gid: BigInt(user.gid),
              supplementalGroups: [...new Set([user.gid, ...user.additionalGids])]
                .sort((one, other) => one - other)
                .map(BigInt),
            },
          },
        }),
    stopSignal: fromSignalNumber(record.stopSignal),
  };
}

function fromImageSpec({ config }: ContainerRecord) {
  const { image, userSpecifiedImage } = config;
  return {
    image: userSpecifiedImage ?? image,
    ...(userSpecifiedImage === undefined ? {} : { userSpecifiedImage }),
  };
}

/** Mounts as they were asked for; those of the engine's own are nobody's business. */
function fromMount(mount: ContainerMount, findImage: FindImage): DeepPartial<Mount>[] {
  if (mount.type === 'tmpfs') return [];
  const { containerPath } = mount;
  const mountOptions = [...(mount.options ?? [])];
  if (mount.type === 'image') {
    const image = { image: mount.image, imageRef: findImage(mount.image)?.id ?? mount.image };
    const imageSubPath = mount.subPath ?? '';
    return [{ containerPath, readonly: true, image, imageSubPath, mountOptions }];
  }
  return [
    {
      containerPath,
      hostPath: mount.hostPath,
      readonly: mount.readOnly,
      recursiveReadOnly: mount.recursiveReadOnly ?? false,
      propagation: PROPAGATIONS[mount.propagation ?? 'private'],
      uidMappings: [...(mount.idMappings?.uids ?? [])],
      gidMappings: [...(mount.idMappings?.gids ?? [])],
      mountOptions,
    },
  ];
}

/** Whether a container meets every condition of a filter; the start of an id is enough. */
export function matchesContainer(
  record: ContainerRecord,
  filter: ContainerFilter | undefined,
): boolean {
  return (
    filter === undefined ||
    (record.id.startsWith(filter.id) &&
      record.sandboxId.startsWith(filter.podSandboxId) &&
      (filter.state === undefined || filter.state.state === STATES[record.state]) &&
      hasLabels(record.config.labels, filter.labelSelector))
  );
}
