import { chmod, chown, lstat, mkdir, open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDirectories } from '../directories.js';
import { FailedPreconditionError } from '../errors.js';
import type { Pod, PodContainer } from '../objects/defaults.js';
import type { VolumeSpec } from '../objects/pod-schema.js';
import type { BindMount } from '../runtime/container-config.js';

type HostPath = NonNullable<VolumeSpec['hostPath']>;
type HostPathType = NonNullable<HostPath['type']>;

const PROPAGATION = {
  None: 'private',
  HostToContainer: 'hostToContainer',
  Bidirectional: 'bidirectional',
} as const;

const EXPECTED: Partial<Record<HostPathType, string>> = {
  Directory: 'directory',
  DirectoryOrCreate: 'directory',
  File: 'file',
  FileOrCreate: 'file',
  Socket: 'socket file',
  CharDevice: 'character device',
  BlockDevice: 'block device',
};

/**
 * Makes the volumes of a pod before any of its containers, and returns the host path of each.
 * @param directory private directory of the pod's volumes, made here; whoever removes the pod removes it.
 * @throws FailedPreconditionError when a host path is not what its type says.
 * @see contracts/kubernetes-semantics.md F55 to F58, F70
 */
export async function setUpVolumes(pod: Pod, directory: string): Promise<Map<string, string>> {
  const paths = new Map<string, string>();
  const fsGroup = pod.spec.securityContext?.fsGroup;
  for (const volume of pod.spec.volumes ?? []) {
    if (volume.hostPath !== undefined) {
      await checkHostPath(volume.hostPath, volume.name);
      paths.set(volume.name, volume.hostPath.path);
      continue;
    }
    // The name is a DNS label, so it cannot leave the directory.
    const path = join(directory, volume.name);
    await mkdir(path, { recursive: true, mode: 0o700 });
    if (fsGroup !== undefined) await chown(path, 0, fsGroup);
    // mkdir obeys the umask, chmod does not; chown would clear the setgid bit, so it comes first.
    await chmod(path, fsGroup === undefined ? 0o777 : 0o2777);
    paths.set(volume.name, path);
  }
  return paths;
}

/** Mounts of one container, in the order of its `volumeMounts`. @see contracts/kubernetes-semantics.md F64 to F66 */
export function volumeMounts(
  container: PodContainer,
  paths: ReadonlyMap<string, string>,
): BindMount[] {
  return (container.volumeMounts ?? []).map((mount) => {
    const hostPath = paths.get(mount.name);
    if (hostPath === undefined) throw new Error(`Volume "${mount.name}" was not set up`);
    const isRecursive =
      mount.recursiveReadOnly !== undefined && mount.recursiveReadOnly !== 'Disabled';
    return {
      type: 'bind',
      hostPath,
      containerPath: mount.mountPath.startsWith('/') ? mount.mountPath : `/${mount.mountPath}`,
      readOnly: mount.readOnly ?? false,
      ...(isRecursive ? { recursiveReadOnly: true } : {}),
      propagation: PROPAGATION[mount.mountPropagation ?? 'None'],
    };
  });
}

async function checkHostPath({ path, type = '' }: HostPath, volume: string): Promise<void> {
  if (type === 'DirectoryOrCreate') await createDirectory(path, volume);
  if (type === 'FileOrCreate') await createFile(path, volume);
  const expected = EXPECTED[type];
  if (expected === undefined) return;
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  });
  const kinds = {
    directory: found?.isDirectory(),
    file: found?.isFile(),
    'socket file': found?.isSocket(),
    'character device': found?.isCharacterDevice(),
    'block device': found?.isBlockDevice(),
  };
  if (kinds[expected as keyof typeof kinds] !== true) {
    throw new FailedPreconditionError(
      `MountVolume.SetUp failed for volume "${volume}" : hostPath type check failed: ${path} is not a ${expected}`,
    );
  }
}

async function createDirectory(path: string, volume: string): Promise<void> {
  try {
    await makeDirectories(path, 0o755);
  } catch (cause) {
    // Something else is there: the check of its type says so.
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return;
    throw new FailedPreconditionError(
      `MountVolume.SetUp failed for volume "${volume}" : cannot create directory ${path}`,
      { cause },
    );
  }
}

async function createFile(path: string, volume: string): Promise<void> {
  const existing = await lstat(path).catch(() => undefined);
  if (existing !== undefined) return;
  try {
    await (await open(path, 'ax', 0o644)).close();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return;
    throw new FailedPreconditionError(
      `MountVolume.SetUp failed for volume "${volume}" : cannot create file ${path}`,
      { cause },
    );
  }
}
