import { UnsupportedError } from '../errors.js';
import { capabilityMask } from './capabilities.js';
import { IMAGE_SOURCE } from './mounts.js';
import type {
  RuntimeSpec,
  SpecDevice,
  SpecIdMapping,
  SpecMount,
  SpecNamespace,
} from './oci-spec.js';
import type { LaunchMount, LaunchSpec } from './supervisor-protocol.js';

/** What the OCI configuration has no place for: where things of this start come from. */
export interface LaunchContext {
  readonly id: string;
  /** Absolute directories of the container's cgroup, one each hierarchy. */
  readonly cgroups: readonly string[];
  readonly log?: { readonly directory: string; readonly path: string };
  readonly stdin: 'null' | 'pipe' | 'pipeOnce';
  /** Files made for this start, such as /etc/hosts; one whose destination the container mounts itself is left out. */
  readonly files: readonly LaunchFile[];
  /** Compiled filter; absent: none. */
  readonly seccomp?: Uint8Array;
  readonly stopSignal: number;
  /** Id of the container whose pid namespace is joined; absent: the one that the configuration names. */
  readonly pidTarget?: string;
  /** The images that the container mounts; their mounts are the descriptors behind the root's. */
  readonly imageMounts?: readonly { readonly subPath?: string }[];
  /** Directories that the container finds, made when its root has none there. */
  readonly directories?: readonly string[];
}

export interface LaunchFile {
  readonly destination: string;
  readonly content: string;
  readonly mode: number;
}

/** MS_* of <linux/mount.h>. */
const Flag = {
  readonly: 1,
  nosuid: 2,
  nodev: 4,
  noexec: 8,
  noatime: 1024,
  nodiratime: 2048,
  bind: 4096,
  recursive: 16_384,
  private: 1 << 18,
  slave: 1 << 19,
  shared: 1 << 20,
  relatime: 1 << 21,
  strictatime: 1 << 24,
} as const;

/** Mount options that are flags; every other option is data of the file system. */
const OPTION_FLAGS: ReadonlyMap<string, number> = new Map([
  ['ro', Flag.readonly],
  ['rw', 0],
  ['rro', Flag.readonly],
  ['nosuid', Flag.nosuid],
  ['nodev', Flag.nodev],
  ['noexec', Flag.noexec],
  ['noatime', Flag.noatime],
  ['nodiratime', Flag.nodiratime],
  ['relatime', Flag.relatime],
  ['strictatime', Flag.strictatime],
  ['bind', Flag.bind],
  ['rbind', Flag.bind | Flag.recursive],
]);

const OPTION_PROPAGATIONS: ReadonlyMap<string, number> = new Map([
  ['private', Flag.private],
  ['rprivate', Flag.private | Flag.recursive],
  ['slave', Flag.slave],
  ['rslave', Flag.slave | Flag.recursive],
  ['shared', Flag.shared],
  ['rshared', Flag.shared | Flag.recursive],
]);

/** RLIMIT_* of <asm-generic/resource.h>. */
const RLIMITS: Readonly<Record<string, number>> = {
  RLIMIT_CPU: 0,
  RLIMIT_FSIZE: 1,
  RLIMIT_DATA: 2,
  RLIMIT_STACK: 3,
  RLIMIT_CORE: 4,
  RLIMIT_RSS: 5,
  RLIMIT_NPROC: 6,
  RLIMIT_NOFILE: 7,
  RLIMIT_MEMLOCK: 8,
  RLIMIT_AS: 9,
  RLIMIT_LOCKS: 10,
  RLIMIT_SIGPENDING: 11,
  RLIMIT_MSGQUEUE: 12,
  RLIMIT_NICE: 13,
  RLIMIT_RTPRIO: 14,
  RLIMIT_RTTIME: 15,
};

/**
 * Lowers an OCI configuration to what the supervisor of the sandbox understands. The detached root mount is the first descriptor of the START frame.
 * Net, ipc and uts namespaces are not mentioned: the supervisor has the pod's, and what it starts is born in them.
 * @throws UnsupportedError naming the mount type or limit that the supervisor does not know.
 */
export function lowerToLaunchSpec(spec: RuntimeSpec, context: LaunchContext): LaunchSpec {
  const { process, linux } = spec;
  const mounted = new Set(spec.mounts.map((mount) => mount.destination));
  const pid = linux.namespaces.find((namespace) => namespace.type === 'pid');
  return {
    id: context.id,
    kind: 'container',
    arguments: process.args,
    environment: process.env,
    workingDirectory: process.cwd,
    terminal: process.terminal,
    stdin: context.stdin,
    ...(context.log === undefined ? {} : { log: context.log }),
    uid: process.user.uid,
    gid: process.user.gid,
    groups: process.user.additionalGids,
    umask: process.user.umask,
    rootReadonly: spec.root.readonly,
    mounts: spec.mounts.map((mount) => lowerMount(mount, context)),
    devices: devicesToMake(spec).map(({ fileMode, ...device }) => ({ ...device, mode: fileMode })),
    maskedPaths: linux.maskedPaths,
    readonlyPaths: linux.readonlyPaths,
    rlimits: process.rlimits.map(({ type, soft, hard }) => {
      const resource = RLIMITS[type];
      if (resource === undefined) throw new UnsupportedError(`Unknown resource limit "${type}"`);
      return { resource, soft, hard };
    }),
    ...(process.oomScoreAdj === undefined ? {} : { oomScoreAdj: process.oomScoreAdj }),
    capabilities: {
      bounding: capabilityMask(process.capabilities.bounding),
      effective: capabilityMask(process.capabilities.effective),
      permitted: capabilityMask(process.capabilities.permitted),
      inheritable: capabilityMask(process.capabilities.inheritable),
      ambient: capabilityMask(process.capabilities.ambient),
    },
    noNewPrivileges: process.noNewPrivileges,
    ...(context.seccomp === undefined ? {} : { seccomp: { filter: context.seccomp, flags: 0 } }),
    cgroups: context.cgroups,
    ...pidNamespaceOf(pid, context),
    rootFd: 0,
    files: context.files.filter((file) => !mounted.has(file.destination)),
    stopSignal: context.stopSignal,
    ...(process.apparmorProfile === undefined ? {} : { appArmorProfile: process.apparmorProfile }),
    directories: context.directories ?? [],
  };
}

/** Descriptors of a START frame before those of image mounts: the root. */
const FIRST_IMAGE_FD = 1;

function bindSource(
  source: string,
  { imageMounts = [] }: LaunchContext,
): Pick<LaunchMount, 'source' | 'sourceFd' | 'subPath'> {
  if (!source.startsWith(IMAGE_SOURCE)) return { source };
  const index = Number(source.slice(IMAGE_SOURCE.length));
  const subPath = imageMounts[index]?.subPath;
  return { sourceFd: FIRST_IMAGE_FD + index, ...(subPath === undefined ? {} : { subPath }) };
}

function pidNamespaceOf(
  namespace: SpecNamespace | undefined,
  { pidTarget }: LaunchContext,
): Pick<LaunchSpec, 'pidNamespace' | 'pidTarget'> {
  if (namespace === undefined) return { pidNamespace: 'host' };
  if (namespace.path === undefined) return { pidNamespace: 'own' };
  return pidTarget === undefined ? { pidNamespace: 'pod' } : { pidNamespace: 'target', pidTarget };
}

function idMapsOf({ uidMappings = [], gidMappings = [] }: SpecMount): Pick<LaunchMount, 'idMaps'> {
  if (uidMappings.length === 0) return {};
  const ranges = (mappings: readonly SpecIdMapping[]) =>
    mappings.map(({ containerID, hostID, size }) => ({
      containerId: containerID,
      hostId: hostID,
      length: size,
    }));
  return { idMaps: { uids: ranges(uidMappings), gids: ranges(gidMappings) } };
}

/** A /dev of the host that the container mounts has its devices already, and nothing is made in it. */
function devicesToMake({ mounts, linux }: RuntimeSpec): readonly SpecDevice[] {
  const isForeign = mounts.some(
    ({ destination, type }) => destination === '/dev' && type === 'bind',
  );
  return isForeign ? linux.devices.filter(({ path }) => !path.startsWith('/dev/')) : linux.devices;
}

const MOUNT_TYPES: ReadonlySet<string> = new Set<LaunchMount['type']>([
  'bind',
  'proc',
  'sysfs',
  'tmpfs',
  'devpts',
  'mqueue',
  'cgroup',
  'shm',
]);

function lowerMount(mount: SpecMount, context: LaunchContext): LaunchMount {
  if (!MOUNT_TYPES.has(mount.type)) {
    throw new UnsupportedError(
      `Mount "${mount.destination}": the supervisor knows no type "${mount.type}"`,
    );
  }
  let flags = 0;
  let propagation: number | undefined;
  const data: string[] = [];
  for (const option of mount.options) {
    const flag = OPTION_FLAGS.get(option);
    if (flag !== undefined) flags |= flag;
    else if (OPTION_PROPAGATIONS.has(option)) propagation = OPTION_PROPAGATIONS.get(option);
    else data.push(option);
  }
  const type = mount.type as LaunchMount['type'];
  return {
    type,
    destination: mount.destination,
    ...(type === 'bind' && mount.source !== undefined ? bindSource(mount.source, context) : {}),
    flags,
    ...(propagation === undefined ? {} : { propagation }),
    ...(data.length === 0 ? {} : { data: data.join(',') }),
    recursiveReadonly: mount.options.includes('rro'),
    ...idMapsOf(mount),
  };
}
