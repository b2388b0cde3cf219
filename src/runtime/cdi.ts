import { InvalidArgumentError, UnsupportedError } from '../errors.js';
import { CDI_DIRECTORIES, findCdiDevices } from './cdi-registry.js';
import type { CdiDeviceNode, CdiEdits, CdiMount } from './cdi-spec.js';
import { checkDevicePath, checkPermissions, deviceAt } from './host-devices.js';
import { checkedDestination } from './mounts.js';
import type { SpecDevice, SpecDeviceRule, SpecMount } from './oci-spec.js';

/** What CDI devices change in a container, in the terms of the OCI runtime-spec. */
export interface ContainerEdits {
  /** `NAME=value`; wins over every other source. */
  readonly env: readonly string[];
  readonly devices: readonly SpecDevice[];
  readonly rules: readonly SpecDeviceRule[];
  readonly mounts: readonly SpecMount[];
  readonly additionalGids: readonly number[];
}

/** Options of CDI mounts that cais passes on; `rbind` and `bind` say whether what is mounted below comes too. */
const MOUNT_OPTIONS: ReadonlySet<string> = new Set(
  'ro rw bind rbind nosuid nodev noexec noatime nodiratime relatime strictatime private rprivate slave rslave'.split(
    ' ',
  ),
);

/**
 * Collects what the CDI devices of a container bring: each file's own edits once, then those of each device, in the order asked for.
 * @throws NotFoundError for an unknown device; UnsupportedError naming a part of a file that cais does not do (hooks); InvalidArgumentError.
 */
export async function resolveCdiDevices(
  names: readonly string[],
  directories: readonly string[] = CDI_DIRECTORIES,
): Promise<ContainerEdits> {
  const found = await findCdiDevices(names, directories);
  const seen = new Set<unknown>();
  const edits = found.flatMap(({ name, device, spec }) => {
    const own = { name, edits: device.containerEdits };
    if (seen.has(spec)) return [own];
    seen.add(spec);
    return [{ name, edits: spec.containerEdits }, own];
  });
  for (const { name, edits: each } of edits) refuseUnsupported(name, each);
  const nodes = await Promise.all(
    edits.flatMap(({ name, edits: each }) => each.deviceNodes.map((node) => toDevice(name, node))),
  );
  return {
    env: edits.flatMap(({ edits: each }) => each.env),
    devices: nodes.map(({ device }) => device),
    rules: nodes.map(({ rule }) => rule),
    mounts: edits.flatMap(({ name, edits: each }) =>
      each.mounts.map((mount) => toMount(name, mount)),
    ),
    additionalGids: edits.flatMap(({ edits: each }) => each.additionalGids),
  };
}

function refuseUnsupported(name: string, { unsupported }: CdiEdits): void {
  if (unsupported.length === 0) return;
  throw new UnsupportedError(
    `CDI device "${name}" asks for ${unsupported.join(' and ')}, which the native runtime does not do: use an OCI runtime handler`,
  );
}

async function toDevice(
  name: string,
  node: CdiDeviceNode,
): Promise<{ device: SpecDevice; rule: SpecDeviceRule }> {
  checkDevicePath(node.path);
  const access = node.permissions === '' ? 'rwm' : node.permissions;
  checkPermissions(access, node.path);
  const device = await completed(name, node);
  const { type, major, minor } = device;
  return { device, rule: { allow: true, type, major, minor, access } };
}

/** The node with what the file leaves open taken from the host. */
async function completed(name: string, node: CdiDeviceNode): Promise<SpecDevice> {
  const { path, hostPath = path, type, major, minor, fileMode, uid, gid } = node;
  const isWhole = type !== undefined && major !== undefined && minor !== undefined;
  let host: SpecDevice | undefined;
  try {
    host = await deviceAt(hostPath, path);
  } catch (cause) {
    if (!isWhole) {
      throw new InvalidArgumentError(`CDI device "${name}": cannot use "${hostPath}" of the host`, {
        cause,
      });
    }
  }
  const chosen = isWhole ? { type, major, minor } : host;
  if (chosen === undefined) {
    throw new InvalidArgumentError(`CDI device "${name}": "${hostPath}" of the host is no device`);
  }
  if (type !== undefined && type !== chosen.type) {
    throw new InvalidArgumentError(
      `CDI device "${name}": "${hostPath}" of the host is of type "${chosen.type}", not "${type}"`,
    );
  }
  return {
    path,
    type: chosen.type,
    major: chosen.major,
    minor: chosen.minor,
    fileMode: (fileMode ?? host?.fileMode ?? 0o666) & 0o777,
    uid: uid ?? host?.uid ?? 0,
    gid: gid ?? host?.gid ?? 0,
  };
}

function toMount(name: string, { hostPath, containerPath, options }: CdiMount): SpecMount {
  for (const option of options) {
    if (MOUNT_OPTIONS.has(option)) continue;
    throw new UnsupportedError(
      `CDI device "${name}": mount option ${JSON.stringify(option)} of "${containerPath}" is not supported`,
    );
  }
  const isBind = options.includes('bind') || options.includes('rbind');
  return {
    destination: checkedDestination(containerPath),
    type: 'bind',
    source: hostPath,
    options: [...(isBind ? [] : ['rbind']), 'rprivate', ...options],
  };
}
