import { isUtf8 } from 'node:buffer';
import { InvalidArgumentError } from '../errors.js';
import type {
  BindMount,
  ContainerConfig,
  ContainerMount,
  ImageMount,
} from '../runtime/container-config.js';
import type { SandboxRecord } from '../sandbox/sandbox-record.js';
import { present } from './convert.js';
import { toContainerResources } from './convert-resources.js';
import { toContainerSecurity } from './convert-security.js';
import { toSignalName } from './convert-signal.js';
import {
  type KeyValue,
  type ContainerConfig as Message,
  type Mount,
  MountPropagation,
  NamespaceMode,
  type NamespaceOption,
} from './generated/api.js';

const PROPAGATIONS = {
  [MountPropagation.PROPAGATION_PRIVATE]: 'private',
  [MountPropagation.PROPAGATION_HOST_TO_CONTAINER]: 'hostToContainer',
  [MountPropagation.PROPAGATION_BIDIRECTIONAL]: 'bidirectional',
} as const;

/**
 * What a client asks of a container in `sandbox`.
 * @throws InvalidArgumentError for what contradicts itself or the sandbox.
 */
export function toContainerConfig(
  config: Message | undefined,
  sandbox: SandboxRecord,
): ContainerConfig {
  if (config?.metadata === undefined || config.metadata.name === '') {
    throw new InvalidArgumentError('The container has no metadata with a name');
  }
  const image = present(config.image?.image ?? '');
  if (image === undefined) throw new InvalidArgumentError('The container has no image');
  const { metadata, linux } = config;
  const context = linux?.securityContext;
  const userSpecifiedImage = present(config.image?.userSpecifiedImage ?? '');
  const logPath = present(config.logPath);
  const stopSignal = toSignalName(config.stopSignal);
  const workingDirectory = present(config.workingDir);
  return {
    name: metadata.name,
    attempt: metadata.attempt,
    image,
    ...(userSpecifiedImage === undefined ? {} : { userSpecifiedImage }),
    command: config.command,
    args: config.args,
    env: config.envs.map(toVariable),
    ...(workingDirectory === undefined ? {} : { workingDirectory }),
    mounts: config.mounts.map(toMount),
    devices: config.devices.map(({ hostPath, containerPath, permissions }) => ({
      hostPath,
      containerPath: present(containerPath) ?? hostPath,
      permissions: present(permissions) ?? 'rwm',
    })),
    cdiDevices: config.CDIDevices.map(({ name }) => name),
    ...toProcessNamespace(context?.namespaceOptions, sandbox),
    resources: toContainerResources(linux?.resources),
    security: toContainerSecurity(context, sandbox),
    terminal: config.tty,
    stdin: config.stdin,
    stdinOnce: config.stdinOnce,
    ...(logPath === undefined ? {} : { logPath }),
    labels: config.labels,
    annotations: config.annotations,
    ...(stopSignal === undefined ? {} : { stopSignal }),
  };
}

/** The wire allows any bytes; what we keep and hand on is text. */
function toVariable({ key, value }: KeyValue): readonly [string, string] {
  if (!isUtf8(value)) {
    throw new InvalidArgumentError(
      `Environment variable ${JSON.stringify(key.slice(0, 100))}: the value is not UTF-8`,
    );
  }
  return [key, value.toString('utf8')];
}

/**
 * The sandbox says whose processes its containers see; a container may still have a namespace of its own, or join that of another one. No message
 * means as the sandbox has it, as does POD.
 */
function toProcessNamespace(
  options: NamespaceOption | undefined,
  { config }: SandboxRecord,
): Partial<ContainerConfig> {
  if (options === undefined || options.pid === NamespaceMode.POD) return {};
  if (options.pid === NamespaceMode.TARGET) {
    if (options.targetId === '') {
      throw new InvalidArgumentError('Process namespace TARGET without a target_id');
    }
    return { processNamespaceOf: options.targetId };
  }
  if (options.pid === NamespaceMode.NODE) {
    if (config.hostPid) return {};
    throw new InvalidArgumentError(
      "A container cannot have the host's processes in a sandbox that has not",
    );
  }
  return config.hostPid || config.shareProcessNamespace ? { ownProcessNamespace: true } : {};
}

function toMount(mount: Mount): ContainerMount {
  return mount.image === undefined ? toBindMount(mount) : toImageMount(mount);
}

function toImageMount(mount: Mount): ImageMount {
  const fail = (why: string): never => {
    throw new InvalidArgumentError(`Image mount ${shown(mount.containerPath)}: ${why}`);
  };
  const image = mount.image?.imageRef || mount.image?.image || fail('it names no image');
  if (!mount.readonly) fail('it must be read-only');
  if (mount.hostPath !== '') fail('it cannot have a path of the host too');
  const subPath = present(mount.imageSubPath);
  return {
    type: 'image',
    image,
    containerPath: mount.containerPath,
    ...(subPath === undefined ? {} : { subPath }),
    ...(mount.mountOptions.length === 0 ? {} : { options: mount.mountOptions }),
  };
}

/** `selinux_relabel` has no meaning without SELinux, which this runtime does not label for. */
function toBindMount(mount: Mount): BindMount {
  const fail = (why: string): never => {
    throw new InvalidArgumentError(`Mount ${shown(mount.containerPath)}: ${why}`);
  };
  const { propagation, uidMappings, gidMappings } = mount;
  const name: BindMount['propagation'] | undefined = PROPAGATIONS[propagation];
  if (name === undefined) return fail(`unknown propagation ${String(propagation)}`);
  if (mount.recursiveReadOnly) {
    if (!mount.readonly) fail('recursive_read_only needs readonly');
    if (name !== 'private') fail('recursive_read_only needs private propagation');
  }
  return {
    type: 'bind',
    hostPath: mount.hostPath,
    containerPath: mount.containerPath,
    readOnly: mount.readonly,
    ...(mount.recursiveReadOnly ? { recursiveReadOnly: true } : {}),
    propagation: name,
    ...(uidMappings.length === 0 && gidMappings.length === 0
      ? {}
      : { idMappings: { uids: uidMappings, gids: gidMappings } }),
    ...(mount.mountOptions.length === 0 ? {} : { options: mount.mountOptions }),
  };
}

function shown(path: string): string {
  return JSON.stringify(path.slice(0, 200));
}
