import { InvalidArgumentError } from '../errors.js';
import type {
  BindMount,
  ContainerConfig,
  ContainerMount,
  ImageMount,
  TmpfsMount,
} from './container-config.js';
import type { SpecDevice, SpecIdMapping, SpecMount } from './oci-spec.js';
import type { IdMapping, UserNamespace } from './sandbox-config.js';
import { checkMapping } from './user-namespace.js';

/** PATH_MAX of the kernel, with its terminator. */
const PATH_MAX_BYTES = 4096;

export interface MountContext {
  readonly hostIpc: boolean;
  /** Of the pod; absent: the host's. */
  readonly userNamespace?: UserNamespace;
}

/** Names an image mount in the `source` of its bind mount, followed by its index among the container's image mounts. */
export const IMAGE_SOURCE = 'image:';

/**
 * Mounts of a container in the order in which they are made: the kernel's file systems and what the caller asked for, each below those that it lies
 * in, whatever the order of the request. A caller's mount at one of the kernel's places (say /dev/shm) replaces it; one at or below /proc is
 * refused (CVE-2019-16884).
 * @throws InvalidArgumentError naming the mount.
 */
export function containerMounts(
  config: Pick<ContainerConfig, 'mounts' | 'security'>,
  context: MountContext,
): SpecMount[] {
  for (const mount of config.mounts) {
    if (mount.type === 'bind') checkReach(mount, context);
  }
  let images = 0;
  const asked = config.mounts.map((mount) =>
    checkedMount(mount, mount.type === 'image' ? images++ : 0),
  );
  const taken = new Set(asked.map((mount) => mount.destination));
  return sortedByDepth([
    ...kernelMounts(config.security.privileged, context).filter(
      (mount) => !taken.has(mount.destination),
    ),
    ...asked,
  ]);
}

/** Root of a pod's user namespace must not mount anything on the host. */
function checkReach({ propagation, containerPath }: BindMount, { userNamespace }: MountContext) {
  if (propagation !== 'bidirectional' || userNamespace === undefined) return;
  throw new InvalidArgumentError(
    `Mount "${containerPath}": bidirectional propagation is not possible in a pod with its own user namespace`,
  );
}

/** A mount made after one that lies in it would hide it; mounts of the same depth keep their order. */
export function sortedByDepth(mounts: readonly SpecMount[]): SpecMount[] {
  const depth = ({ destination }: SpecMount) => destination.split('/').filter(Boolean).length;
  return [...mounts].sort((one, other) => depth(one) - depth(other));
}

function kernelMounts(privileged: boolean, context: MountContext): SpecMount[] {
  const access = privileged ? 'rw' : 'ro';
  return [
    {
      destination: '/proc',
      type: 'proc',
      source: 'proc',
      options: ['nosuid', 'noexec', 'nodev'],
    },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
    },
    context.hostIpc
      ? {
          destination: '/dev/shm',
          type: 'bind',
          source: '/dev/shm',
          options: ['rbind', 'nosuid', 'noexec', 'nodev'],
        }
      : {
          destination: '/dev/shm',
          type: 'shm',
          source: 'shm',
          options: ['nosuid', 'noexec', 'nodev'],
        },
    // A new mqueue mount shows the queues of the IPC namespace it is made in, also the host's.
    {
      destination: '/dev/mqueue',
      type: 'mqueue',
      source: 'mqueue',
      options: ['nosuid', 'noexec', 'nodev'],
    },
    {
      destination: '/sys',
      type: 'sysfs',
      source: 'sysfs',
      options: ['nosuid', 'noexec', 'nodev', access],
    },
    {
      destination: '/sys/fs/cgroup',
      type: 'cgroup',
      source: 'cgroup',
      options: ['nosuid', 'noexec', 'nodev', 'relatime', access],
    },
  ];
}

function checkedMount(mount: ContainerMount, imageIndex: number): SpecMount {
  const destination = checkedDestination(mount.containerPath);
  if (mount.type === 'tmpfs') return tmpfsMount(mount, destination);
  if (mount.type === 'image') {
    return {
      destination,
      type: 'bind',
      source: `${IMAGE_SOURCE}${imageIndex}`,
      options: ['bind', 'rprivate', 'ro', 'nosuid', 'nodev', ...mountOptions(mount, destination)],
    };
  }
  checkPath(mount.hostPath, `host path of mount "${destination}"`);
  const { propagation = 'private' } = mount;
  if (mount.recursiveReadOnly === true && !mount.readOnly) {
    throw new InvalidArgumentError(
      `Mount "${destination}": recursively read-only but not readOnly`,
    );
  }
  // What the host mounts there later would be writable.
  if (mount.recursiveReadOnly === true && propagation !== 'private') {
    throw new InvalidArgumentError(
      `Mount "${destination}": a recursively read-only mount must have private propagation, not ${propagation}`,
    );
  }
  return {
    destination,
    type: 'bind',
    source: mount.hostPath,
    options: [
      'rbind',
      { private: 'rprivate', hostToContainer: 'rslave', bidirectional: 'rshared' }[propagation],
      mount.readOnly ? (mount.recursiveReadOnly === true ? 'rro' : 'ro') : 'rw',
      ...mountOptions(mount, destination),
    ],
    ...idMappings(mount, destination),
  };
}

/** More than the kernel takes. */
const MAX_MAPPINGS = 340;

function idMappings(
  { idMappings: asked }: BindMount,
  destination: string,
): Pick<SpecMount, 'uidMappings' | 'gidMappings'> {
  if (asked === undefined || (asked.uids.length === 0 && asked.gids.length === 0)) return {};
  const { uids, gids } = asked;
  if (uids.length === 0 || gids.length === 0) {
    throw new InvalidArgumentError(
      `Mount "${destination}": expected mappings of both uids and gids`,
    );
  }
  if (uids.length > MAX_MAPPINGS || gids.length > MAX_MAPPINGS) {
    throw new InvalidArgumentError(
      `Mount "${destination}": more than ${MAX_MAPPINGS} mappings of ids`,
    );
  }
  for (const each of uids) checkMapping(each, `the uids of mount "${destination}"`);
  for (const each of gids) checkMapping(each, `the gids of mount "${destination}"`);
  return { uidMappings: uids.map(specMapping), gidMappings: gids.map(specMapping) };
}

/** A range of ids under the specification's names. */
export function specMapping({ containerId, hostId, length }: IdMapping): SpecIdMapping {
  return { containerID: containerId, hostID: hostId, size: length };
}

function tmpfsMount({ sizeBytes, readOnly }: TmpfsMount, destination: string): SpecMount {
  if (sizeBytes !== undefined && (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0)) {
    throw new InvalidArgumentError(
      `Mount "${destination}": expected a positive number of bytes, received ${sizeBytes}`,
    );
  }
  return {
    destination,
    type: 'tmpfs',
    source: 'tmpfs',
    options: [
      'nosuid',
      'nodev',
      readOnly === true ? 'ro' : 'rw',
      'mode=1777',
      ...(sizeBytes === undefined ? [] : [`size=${sizeBytes}`]),
    ],
  };
}

/** Options of the mount itself that a caller may add; everything else has a field of its own, or is not his to choose. */
const MOUNT_OPTIONS: ReadonlySet<string> = new Set([
  'noexec',
  'nosuid',
  'nodev',
  'noatime',
  'nodiratime',
  'relatime',
  'strictatime',
]);
/** Of these the kernel takes one. */
const ACCESS_TIMES: ReadonlySet<string> = new Set(['noatime', 'relatime', 'strictatime']);

function mountOptions({ options = [] }: BindMount | ImageMount, destination: string): string[] {
  const unique = [...new Set(options)];
  for (const option of unique) {
    if (MOUNT_OPTIONS.has(option)) continue;
    throw new InvalidArgumentError(
      `Mount "${destination}": expected options of ${[...MOUNT_OPTIONS].join(', ')}, received ${JSON.stringify(option.slice(0, 100))}`,
    );
  }
  const times = unique.filter((option) => ACCESS_TIMES.has(option));
  if (times.length > 1) {
    throw new InvalidArgumentError(
      `Mount "${destination}": the options ${times.join(' and ')} exclude each other`,
    );
  }
  return unique;
}

/**
 * The destination without empty and "." parts.
 * @throws InvalidArgumentError for the root, for one with "..", and for one inside /proc.
 */
export function checkedDestination(path: string): string {
  checkPath(path, 'mount destination');
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) {
    throw new InvalidArgumentError(`Mount destination ${JSON.stringify(path)} holds ".."`);
  }
  if (parts.length === 0) throw new InvalidArgumentError('A mount over "/" is not allowed');
  if (parts[0] === 'proc') {
    throw new InvalidArgumentError(`Mount destination ${JSON.stringify(path)} lies inside /proc`);
  }
  return `/${parts.join('/')}`;
}

/**
 * @throws InvalidArgumentError unless `path` is absolute, without NUL, and short enough for the kernel.
 */
export function checkPath(path: string, what: string): void {
  if (!path.startsWith('/') || path.includes('\0') || Buffer.byteLength(path) >= PATH_MAX_BYTES) {
    throw new InvalidArgumentError(
      `Invalid ${what}: expected an absolute path below ${PATH_MAX_BYTES} bytes, received ${JSON.stringify(path.slice(0, 100))}`,
    );
  }
}

/** Device nodes that every container has. @see runtime-spec, config-linux.md, "Default Devices" */
export const DEFAULT_DEVICES: readonly SpecDevice[] = (
  [
    ['null', 1, 3],
    ['zero', 1, 5],
    ['full', 1, 7],
    ['random', 1, 8],
    ['urandom', 1, 9],
    ['tty', 5, 0],
  ] as const
).map(([name, major, minor]) => ({
  path: `/dev/${name}`,
  type: 'c',
  major,
  minor,
  fileMode: 0o666,
  uid: 0,
  gid: 0,
}));
