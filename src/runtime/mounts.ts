import { InvalidArgumentError, UnsupportedError } from '../errors.js';
import type { ContainerConfig, ContainerMount } from './container-config.js';
import type { SpecDevice, SpecMount } from './oci-spec.js';

/** PATH_MAX of the kernel, with its terminator. */
const PATH_MAX_BYTES = 4096;

export interface MountContext {
  readonly hostIpc: boolean;
}

/** Names an image mount in the `source` of its bind mount, followed by its index among the container's image mounts. */
export const IMAGE_SOURCE = 'image:';

/**
 * Mounts of a container in the order in which they are made: the kernel's file systems, then what the caller asked for. A caller's mount at
 * one of the kernel's places (say /dev/shm) replaces it; one at or below /proc is refused (CVE-2019-16884).
 * @throws InvalidArgumentError naming the mount.
 */
export function containerMounts(
  config: Pick<ContainerConfig, 'mounts' | 'security'>,
  context: MountContext,
): SpecMount[] {
  const asked = config.mounts.map(checkedMount);
  const taken = new Set(asked.map((mount) => mount.destination));
  return [
    ...kernelMounts(config.security.privileged, context).filter(
      (mount) => !taken.has(mount.destination),
    ),
    ...asked,
  ];
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

function checkedMount(mount: ContainerMount): SpecMount {
  const destination = checkedDestination(mount.containerPath);
  if (mount.type === 'tmpfs') {
    const { sizeBytes } = mount;
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
        mount.readOnly === true ? 'ro' : 'rw',
        'mode=1777',
        ...(sizeBytes === undefined ? [] : [`size=${sizeBytes}`]),
      ],
    };
  }
  if (mount.type === 'image') {
    throw new UnsupportedError(`Mount "${destination}": volumes of images are not supported yet`);
  }
  checkPath(mount.hostPath, `host path of mount "${destination}"`);
  if (mount.recursiveReadOnly === true && !mount.readOnly) {
    throw new InvalidArgumentError(
      `Mount "${destination}": recursively read-only but not readOnly`,
    );
  }
  const propagation = {
    private: 'rprivate',
    hostToContainer: 'rslave',
    bidirectional: 'rshared',
  }[mount.propagation ?? 'private'];
  return {
    destination,
    type: 'bind',
    source: mount.hostPath,
    options: [
      'rbind',
      propagation,
      mount.readOnly ? (mount.recursiveReadOnly === true ? 'rro' : 'ro') : 'rw',
    ],
  };
}

function checkedDestination(path: string): string {
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
