import { hostname } from 'node:os';
import { InvalidArgumentError } from '../errors.js';
import type {
  DnsConfig,
  IdMapping,
  PortMapping,
  SandboxConfig,
  UserNamespace,
} from '../runtime/sandbox-config.js';
import type { SandboxRecord } from '../sandbox/sandbox-record.js';
import { hasLabels, nanos, present } from './convert.js';
import {
  type DeepPartial,
  type DNSConfig,
  type LinuxPodSandboxConfig,
  NamespaceMode,
  type PodSandboxConfig,
  type PodSandboxFilter,
  type PodSandbox as PodSandboxMessage,
  type PodSandboxMetadata,
  PodSandboxState,
  type PodSandboxStatus,
  type PortMapping as PortMappingMessage,
  Protocol,
  type UserNamespace as UserNamespaceMessage,
} from './generated/api.js';

const PROTOCOLS = {
  [Protocol.TCP]: 'tcp',
  [Protocol.UDP]: 'udp',
  [Protocol.SCTP]: 'sctp',
} as const;

/**
 * What a client asks of a sandbox. Fields without meaning here are passed over: those of Windows, SELinux labels, and what concerns a process of the
 * sandbox itself, which has none. `resources` and `overhead` too: the kubelet has made the pod's cgroup, with its limits, by itself.
 * @throws InvalidArgumentError for what contradicts itself.
 */
export function toSandboxConfig(
  config: PodSandboxConfig | undefined,
  runtimeHandler: string,
): SandboxConfig {
  if (config?.metadata === undefined || config.metadata.name === '') {
    throw new InvalidArgumentError('The sandbox has no metadata with a name');
  }
  const { metadata, linux } = config;
  const context = linux?.securityContext;
  const namespaces = context?.namespaceOptions;
  const hostNetwork = namespaces?.network === NamespaceMode.NODE;
  const dns = toDns(config.dnsConfig);
  const portMappings = hostNetwork ? [] : toPortMappings(config.portMappings);
  const userNamespace = toUserNamespace(namespaces?.usernsOptions);
  const logDirectory = present(config.logDirectory);
  const cgroupParent = toCgroupParent(linux);
  return {
    name: metadata.name,
    namespace: metadata.namespace,
    uid: metadata.uid,
    attempt: metadata.attempt,
    hostname: present(config.hostname) ?? hostname(),
    labels: config.labels,
    annotations: config.annotations,
    ...(logDirectory === undefined ? {} : { logDirectory }),
    ...(dns === undefined ? {} : { dns }),
    hostNetwork,
    hostPid: namespaces?.pid === NamespaceMode.NODE,
    hostIpc: namespaces?.ipc === NamespaceMode.NODE,
    // What a client that says nothing has asked for, too: POD is the first value.
    shareProcessNamespace: (namespaces?.pid ?? NamespaceMode.POD) === NamespaceMode.POD,
    ...(linux === undefined ? {} : { sysctls: linux.sysctls }),
    ...(portMappings.length === 0 ? {} : { portMappings }),
    ...(userNamespace === undefined ? {} : { userNamespace }),
    privileged: context?.privileged ?? false,
    ...(runtimeHandler === '' ? {} : { runtimeHandler }),
    ...(cgroupParent === undefined ? {} : { cgroupParent }),
    onOwnerExit: 'keep',
  };
}

function toDns(dns: DNSConfig | undefined): DnsConfig | undefined {
  if (dns === undefined) return undefined;
  const { servers, searches, options } = dns;
  return [servers, searches, options].every((list) => list.length === 0)
    ? undefined
    : { servers, searches, options };
}

/** Ports without a port of the node say only what a container listens on. */
function toPortMappings(mappings: readonly PortMappingMessage[]): PortMapping[] {
  return mappings
    .filter(({ hostPort }) => hostPort !== 0)
    .map(({ protocol, containerPort, hostPort, hostIp }) => {
      const name: 'tcp' | 'udp' | 'sctp' | undefined = PROTOCOLS[protocol];
      const isPort = (port: number) => port >= 1 && port <= 65_535;
      if (name === undefined || !isPort(containerPort) || !isPort(hostPort)) {
        throw new InvalidArgumentError(
          `Port mapping ${hostPort} to ${containerPort}: expected ports from 1 to 65535 of TCP, UDP or SCTP`,
        );
      }
      return { protocol: name, containerPort, hostPort, ...(hostIp === '' ? {} : { hostIp }) };
    });
}

/** No message and mode NODE: the node's own. */
function toUserNamespace(message: UserNamespaceMessage | undefined): UserNamespace | undefined {
  if (message === undefined || message.mode === NamespaceMode.NODE) return undefined;
  if (message.mode !== NamespaceMode.POD) {
    throw new InvalidArgumentError(
      `User namespace mode ${NamespaceMode[message.mode]} is not supported: expected POD or NODE`,
    );
  }
  const uids = onlyMapping(message.uids, 'user');
  const gids = onlyMapping(message.gids, 'group');
  if (uids.hostId !== gids.hostId || uids.length !== gids.length) {
    throw new InvalidArgumentError('User namespace: users and groups must be mapped alike');
  }
  return { uids, gids };
}

function onlyMapping(mappings: readonly IdMapping[], what: string): IdMapping {
  const [mapping] = mappings;
  if (mapping === undefined || mappings.length !== 1) {
    throw new InvalidArgumentError(
      `User namespace: expected exactly one ${what} mapping, received ${mappings.length}`,
    );
  }
  if (mapping.containerId !== 0 || mapping.length === 0) {
    throw new InvalidArgumentError(`User namespace: the ${what} mapping must begin at id 0`);
  }
  const { hostId, containerId, length } = mapping;
  return { hostId, containerId, length };
}

/** A path with the cgroupfs driver, absolute as the kubelet writes it; below the mount points of the hierarchies here. */
function toCgroupParent(linux: LinuxPodSandboxConfig | undefined): string | undefined {
  const path = (linux?.cgroupParent ?? '').split('/').filter((part) => part !== '');
  return present(path.join('/'));
}

/** The message of a sandbox in a list. */
export function fromSandbox(record: SandboxRecord): DeepPartial<PodSandboxMessage> {
  const { config } = record;
  return {
    id: record.id,
    metadata: fromSandboxMetadata(config),
    state: fromSandboxState(record),
    createdAt: nanos(record.createdAtNanos),
    labels: config.labels,
    annotations: config.annotations,
    runtimeHandler: config.runtimeHandler ?? '',
  };
}

/** The message of one sandbox in full. */
export function fromSandboxStatus(record: SandboxRecord): DeepPartial<PodSandboxStatus> {
  const { config, ip, additionalIps } = record;
  const { hostNetwork, hostPid, hostIpc, shareProcessNamespace, userNamespace } = config;
  const mode = (isHost: boolean) => (isHost ? NamespaceMode.NODE : NamespaceMode.POD);
  const ownOrShared = shareProcessNamespace ? NamespaceMode.POD : NamespaceMode.CONTAINER;
  return {
    ...fromSandbox(record),
    network: { ip: ip ?? '', additionalIps: (additionalIps ?? []).map((each) => ({ ip: each })) },
    linux: {
      namespaces: {
        options: {
          network: mode(hostNetwork),
          pid: hostPid ? NamespaceMode.NODE : ownOrShared,
          ipc: mode(hostIpc),
          ...(userNamespace === undefined
            ? {}
            : {
                usernsOptions: {
                  mode: NamespaceMode.POD,
                  uids: [userNamespace.uids],
                  gids: [userNamespace.gids],
                },
              }),
        },
      },
    },
  };
}

/** Identity of a sandbox. */
export function fromSandboxMetadata({
  name,
  uid,
  namespace,
  attempt,
}: SandboxConfig): PodSandboxMetadata {
  return { name, uid, namespace, attempt };
}

function fromSandboxState({ state }: SandboxRecord): PodSandboxState {
  return state === 'ready' ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY;
}

/** Whether a sandbox meets every condition of a filter; the start of an id is enough. */
export function matchesSandbox(
  record: SandboxRecord,
  filter: PodSandboxFilter | undefined,
): boolean {
  return (
    filter === undefined ||
    (record.id.startsWith(filter.id) &&
      (filter.state === undefined || filter.state.state === fromSandboxState(record)) &&
      hasLabels(record.config.labels, filter.labelSelector))
  );
}
