import { readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { InvalidArgumentError } from '../errors.js';
import type { ContainerDevice } from './container-config.js';
import { checkPath } from './mounts.js';
import type { SpecDevice, SpecDeviceRule } from './oci-spec.js';

/** More nodes than any machine's /dev; each travels in the start frame. */
const MAX_DEVICES = 4096;
const MAX_DEPTH = 16;
const S_IFMT = 0o170_000;
const S_IFCHR = 0o020_000;
const S_IFBLK = 0o060_000;

/** Entries of a device directory that are file systems of their own, links of the process, or made for each container. */
const NOT_OF_THE_HOST: ReadonlySet<string> = new Set([
  'console',
  'fd',
  'mqueue',
  'ptmx',
  'pts',
  'shm',
  '.lxc',
  '.lxd-mounts',
  '.udev',
]);

/** Nodes to make in a container, and what its cgroup allows to be done with them. */
export interface ResolvedDevices {
  readonly devices: readonly SpecDevice[];
  readonly rules: readonly SpecDeviceRule[];
}

/**
 * Looks up devices of the host by what they are (major, minor, mode, owner): the container gets nodes of its own. A directory brings every device in
 * and below it.
 * @throws InvalidArgumentError naming a device that is none, or a wrong permission.
 */
export async function resolveDevices(asked: readonly ContainerDevice[]): Promise<ResolvedDevices> {
  const devices: SpecDevice[] = [];
  const rules: SpecDeviceRule[] = [];
  for (const device of asked) {
    const found = await resolveDevice(device);
    const access = device.permissions === '' ? 'rwm' : device.permissions;
    devices.push(...found);
    rules.push(
      ...found.map(({ type, major, minor }) => ({ allow: true, type, major, minor, access })),
    );
    checkCount(devices.length);
  }
  return { devices, rules };
}

/** Every device node of the host, for a privileged container, whose cgroup allows them all. */
export async function allHostDevices(): Promise<readonly SpecDevice[]> {
  return devicesBelow('/dev', '/dev');
}

/**
 * The list in which the last entry of a path counts, in the order of their first appearance.
 */
export function mergeDevices(...lists: readonly (readonly SpecDevice[])[]): SpecDevice[] {
  return [...new Map(lists.flat().map((device) => [device.path, device])).values()];
}

/**
 * A device node of the host as it will be in the container.
 * @returns undefined when it is no device. @throws the error of stat(2).
 */
export async function deviceAt(
  hostPath: string,
  containerPath: string,
): Promise<SpecDevice | undefined> {
  const { mode, rdev, uid, gid } = await stat(hostPath);
  const kind = mode & S_IFMT;
  if (kind !== S_IFCHR && kind !== S_IFBLK) return undefined;
  return {
    path: containerPath,
    type: kind === S_IFCHR ? 'c' : 'b',
    ...deviceNumbers(rdev),
    fileMode: mode & 0o777,
    uid,
    gid,
  };
}

/** `makedev` of the C library, taken apart. */
export function deviceNumbers(rdev: number): { major: number; minor: number } {
  const bits = BigInt(rdev);
  return {
    major: Number(((bits >> 8n) & 0xfffn) | ((bits >> 32n) & 0xffff_f000n)),
    minor: Number((bits & 0xffn) | ((bits >> 12n) & 0xffff_ff00n)),
  };
}

/** @throws InvalidArgumentError unless the text is letters of `rwm`, each once. */
export function checkPermissions(permissions: string, device: string): void {
  if (/^[rwm]*$/.test(permissions) && new Set(permissions).size === permissions.length) return;
  throw new InvalidArgumentError(
    `Device "${device}": expected permissions of the letters "rwm", received ${JSON.stringify(permissions.slice(0, 20))}`,
  );
}

/** @throws InvalidArgumentError unless the path can hold a device node: absolute, without "..", outside /proc and /sys. */
export function checkDevicePath(path: string): void {
  checkPath(path, 'device path');
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.length === 0 || parts.includes('..') || parts[0] === 'proc' || parts[0] === 'sys') {
    throw new InvalidArgumentError(
      `Device path ${JSON.stringify(path.slice(0, 100))}: expected a path without ".." outside /proc and /sys`,
    );
  }
}

async function resolveDevice(device: ContainerDevice): Promise<readonly SpecDevice[]> {
  const { hostPath, containerPath, permissions } = device;
  checkPath(hostPath, 'device of the host');
  checkDevicePath(containerPath);
  checkPermissions(permissions, containerPath);
  try {
    const found = await deviceAt(hostPath, containerPath);
    if (found !== undefined) return [found];
    const info = await stat(hostPath);
    if (info.isDirectory()) return await devicesBelow(await realpath(hostPath), containerPath);
  } catch (cause) {
    if (cause instanceof InvalidArgumentError) throw cause;
    throw new InvalidArgumentError(
      `Device "${containerPath}": cannot use "${hostPath}" of the host`,
      { cause },
    );
  }
  throw new InvalidArgumentError(
    `Device "${containerPath}": "${hostPath}" of the host is neither a device nor a directory`,
  );
}

async function devicesBelow(hostDirectory: string, containerDirectory: string) {
  const devices: SpecDevice[] = [];
  const visit = async (host: string, container: string, depth: number): Promise<void> => {
    if (depth > MAX_DEPTH) return;
    for (const entry of await readdir(host, { withFileTypes: true })) {
      if (NOT_OF_THE_HOST.has(entry.name)) continue;
      const hostPath = join(host, entry.name);
      const containerPath = join(container, entry.name);
      if (entry.isDirectory()) await visit(hostPath, containerPath, depth + 1);
      if (!entry.isCharacterDevice() && !entry.isBlockDevice()) continue;
      try {
        const device = await deviceAt(hostPath, containerPath);
        if (device !== undefined) devices.push(device);
      } catch (error) {
        // Unplugged in this moment.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
      checkCount(devices.length);
    }
  };
  await visit(hostDirectory, containerDirectory, 0);
  return devices;
}

function checkCount(count: number): void {
  if (count <= MAX_DEVICES) return;
  throw new InvalidArgumentError(`More than ${MAX_DEVICES} devices for one container`);
}
