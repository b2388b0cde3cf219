import { hostname } from 'node:os';
import { InvalidArgumentError } from '../errors.js';
import { capabilitySets } from './capabilities.js';
import type { ContainerEdits } from './cdi.js';
import type { ContainerConfig } from './container-config.js';
import { mergeDevices, type ResolvedDevices } from './host-devices.js';
import {
  checkPath,
  containerMounts,
  DEFAULT_DEVICES,
  sortedByDepth,
  specMapping,
} from './mounts.js';
import type { RuntimeSpec, SpecMount, SpecNamespace } from './oci-spec.js';
import type { OpenFilesLimit } from './open-files.js';
import { checkResources, specResources } from './resources.js';
import type { SandboxConfig } from './sandbox-config.js';
import { protectedPaths } from './security.js';
import type { ResolvedUser } from './user.js';
import { checkUserInNamespace } from './user-namespace.js';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** MAX_ARG_STRLEN of the kernel: one longer argument or variable makes execve fail with E2BIG. */
const ARGUMENT_MAX_BYTES = 131_071;

/** What of an image's configuration decides how a process starts; empty values mean that the image does not say. */
export interface ImageProcess {
  readonly user: string;
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly workingDirectory: string;
  readonly stopSignal: string;
}

export interface ProcessSpecOptions {
  readonly container: ContainerConfig;
  readonly sandbox: SandboxConfig;
  readonly image: ImageProcess;
  readonly user: ResolvedUser;
  readonly cgroup: string;
  /** Pid of the process whose net, ipc and uts namespaces the container joins. */
  readonly namespacesPid: number;
  /** Pid whose pid namespace the container joins, when the pod shares one. */
  readonly pidNamespacePid?: number;
  readonly openFiles: OpenFilesLimit;
  readonly hostCapabilities: bigint;
  /** Name of a loaded AppArmor profile; absent: none. */
  readonly appArmorProfile?: string;
  /** Devices asked for, and for a privileged container those of the host; absent: none beyond the usual ones. */
  readonly devices?: ResolvedDevices;
  /** What CDI devices change; absent: nothing. */
  readonly edits?: ContainerEdits;
}

/**
 * Builds the OCI runtime-spec configuration of a container from what the pod asks for and what the image says.
 * The root path is the one an external runtime would use; our supervisor gets a descriptor instead.
 * @throws InvalidArgumentError naming what cannot work: `no command specified`, bad names, paths, limits.
 */
export function buildProcessSpec(options: ProcessSpecOptions): RuntimeSpec {
  const { container, sandbox, image, user, devices, edits } = options;
  const { security } = container;
  checkResources(container.resources);
  const groups = [...new Set([...user.groups, ...(edits?.additionalGids ?? [])])];
  checkUserInNamespace({ ...user, groups }, sandbox.userNamespace);
  const paths = protectedPaths(security);
  for (const path of [...paths.masked, ...paths.readonly]) checkPath(path, 'protected path');
  const cwd = container.workingDirectory || image.workingDirectory || '/';
  checkPath(cwd, 'working directory');
  return {
    ociVersion: '1.2.0',
    process: {
      terminal: container.terminal,
      user: {
        uid: user.uid,
        gid: user.gid,
        umask: 0o022,
        additionalGids: groups,
      },
      args: processArguments(container, image),
      env: processEnvironment(options),
      cwd,
      capabilities: capabilitySets({
        privileged: security.privileged,
        add: security.addCapabilities,
        drop: security.dropCapabilities,
        hostMask: options.hostCapabilities,
      }),
      rlimits: [{ type: 'RLIMIT_NOFILE', ...options.openFiles }],
      noNewPrivileges: security.noNewPrivileges,
      ...(options.appArmorProfile === undefined
        ? {}
        : { apparmorProfile: options.appArmorProfile }),
      ...(container.resources.oomScoreAdj === undefined
        ? {}
        : { oomScoreAdj: container.resources.oomScoreAdj }),
    },
    root: { path: 'rootfs', readonly: security.readOnlyRootFilesystem },
    ...(sandbox.hostNetwork ? {} : { hostname: sandbox.hostname }),
    mounts: withEdits(containerMounts(container, sandbox), edits?.mounts ?? []),
    annotations: { ...container.annotations },
    linux: {
      namespaces: namespaces(options),
      ...(sandbox.userNamespace === undefined
        ? {}
        : {
            uidMappings: [specMapping(sandbox.userNamespace.uids)],
            gidMappings: [specMapping(sandbox.userNamespace.gids)],
          }),
      devices: mergeDevices(DEFAULT_DEVICES, devices?.devices ?? [], edits?.devices ?? []),
      cgroupsPath: `/${options.cgroup}`,
      resources: specResources(container.resources, {
        // Root of the pod's own user namespace must not reach what only root of the host may.
        privileged: security.privileged && sandbox.userNamespace === undefined,
        devices: [...(devices?.rules ?? []), ...(edits?.rules ?? [])],
      }),
      sysctl: {},
      maskedPaths: paths.masked,
      readonlyPaths: paths.readonly,
      rootfsPropagation: 'private',
    },
  };
}

/**
 * argv from command and args against ENTRYPOINT and CMD; empty lists count as not set, and no shell is added.
 * @throws InvalidArgumentError `no command specified`.
 */
function processArguments(container: ContainerConfig, image: ImageProcess): string[] {
  const command = container.command ?? [];
  const args = container.args ?? [];
  const argv =
    command.length > 0
      ? [...command, ...args]
      : [...image.entrypoint, ...(args.length > 0 ? args : image.cmd)];
  if (argv.length === 0 || argv[0] === '') {
    throw new InvalidArgumentError(
      'no command specified: the image has neither ENTRYPOINT nor CMD, and the container none of its own',
    );
  }
  for (const argument of argv) checkExecString(argument, 'argument');
  return argv;
}

/** The image's variables, then the container's, then those of CDI devices; below all PATH, HOSTNAME, HOME and TERM where nobody sets them. */
function processEnvironment(options: ProcessSpecOptions): string[] {
  const { container, sandbox, image, user, edits } = options;
  const variables = new Map<string, string>([
    ['PATH', DEFAULT_PATH],
    ['HOSTNAME', sandbox.hostNetwork ? hostname() : sandbox.hostname],
    ['HOME', user.home],
    ...(container.terminal ? [['TERM', 'xterm'] as const] : []),
  ]);
  for (const entry of image.env) {
    const at = entry.indexOf('=');
    // An entry without "=" or without a name sets nothing; containerd drops it too.
    if (at > 0) variables.set(entry.slice(0, at), entry.slice(at + 1));
  }
  for (const [name, value] of container.env) {
    if (name === '' || name.includes('=')) {
      throw new InvalidArgumentError(
        `Invalid environment variable name ${JSON.stringify(name.slice(0, 100))}`,
      );
    }
    variables.set(name, value);
  }
  for (const entry of edits?.env ?? []) {
    const at = entry.indexOf('=');
    variables.set(entry.slice(0, at), entry.slice(at + 1));
  }
  const environment = [...variables].map(([name, value]) => `${name}=${value}`);
  for (const entry of environment) checkExecString(entry, 'environment variable');
  return environment;
}

/** The mounts of CDI devices take the place of others at the same destination. */
function withEdits(mounts: readonly SpecMount[], added: readonly SpecMount[]): SpecMount[] {
  const taken = new Set(added.map(({ destination }) => destination));
  return sortedByDepth([...mounts.filter(({ destination }) => !taken.has(destination)), ...added]);
}

function checkExecString(text: string, what: string): void {
  if (text.includes('\0') || Buffer.byteLength(text) > ARGUMENT_MAX_BYTES) {
    throw new InvalidArgumentError(
      `Invalid ${what} ${JSON.stringify(text.slice(0, 60))}: it holds a NUL or is longer than ${ARGUMENT_MAX_BYTES} bytes`,
    );
  }
}

function namespaces(options: ProcessSpecOptions): SpecNamespace[] {
  const { sandbox } = options;
  const shared = (file: string) => `/proc/${options.namespacesPid}/ns/${file}`;
  const list: SpecNamespace[] = [{ type: 'mount' }, { type: 'cgroup' }];
  if (!sandbox.hostPid || options.container.ownProcessNamespace === true) {
    const target = options.pidNamespacePid;
    list.push(
      target === undefined ? { type: 'pid' } : { type: 'pid', path: `/proc/${target}/ns/pid` },
    );
  }
  if (!sandbox.hostNetwork) {
    list.push({ type: 'network', path: shared('net') }, { type: 'uts', path: shared('uts') });
  }
  if (!sandbox.hostIpc) list.push({ type: 'ipc', path: shared('ipc') });
  if (sandbox.userNamespace !== undefined) list.push({ type: 'user' });
  return list;
}
