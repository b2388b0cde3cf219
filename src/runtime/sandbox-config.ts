import type { CgroupResources } from '../native.js';

/** What a caller asks of a sandbox: the namespaces, cgroup, network and names that the containers of one pod share. */
export interface SandboxConfig {
  /** Name, namespace and uid of the pod; labels for people, never parts of a path. */
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  /** Counts the sandboxes made for one pod. */
  readonly attempt: number;
  /** Host name seen in the containers; ignored with `hostNetwork`, where the node's own applies. */
  readonly hostname: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** Absolute directory of the container logs; made (0700) when it does not exist. Absent: no output is kept. */
  readonly logDirectory?: string;
  /** Content of /etc/resolv.conf; absent: the node's. */
  readonly dns?: DnsConfig;
  readonly hostNetwork: boolean;
  readonly hostPid: boolean;
  readonly hostIpc: boolean;
  /** All containers see each other's processes; our own pause process is their pid 1. */
  readonly shareProcessNamespace: boolean;
  readonly hostAliases?: readonly HostAlias[];
  /** Dotted names of namespaced sysctls. */
  readonly sysctls?: Readonly<Record<string, string>>;
  /** Ports of the node that lead to the pod; not with `hostNetwork`. */
  readonly portMappings?: readonly PortMapping[];
  /** Absent: the node's user namespace. */
  readonly userNamespace?: UserNamespace;
  /** Whether containers of it may be privileged; absent: yes. */
  readonly privileged?: boolean;
  /** Name of the runtime handler; absent: the default one. */
  readonly runtimeHandler?: string;
  /** Relative cgroup below which the sandbox's cgroup is made; absent: the engine's. */
  readonly cgroupParent?: string;
  /** Limits of the whole pod. */
  readonly resources?: CgroupResources;
  /** What the supervisor does when the engine that owns it is gone. */
  readonly onOwnerExit: 'keep' | 'kill';
}

export interface PortMapping {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly containerPort: number;
  readonly hostPort: number;
  /** Absent: every address of the node. */
  readonly hostIp?: string;
}

/** Users and groups of a pod's own user namespace; one range each, which both begin at id 0 of the pod. */
export interface UserNamespace {
  readonly uids: IdMapping;
  readonly gids: IdMapping;
}

export interface IdMapping {
  readonly hostId: number;
  readonly containerId: number;
  readonly length: number;
}

export interface DnsConfig {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options?: readonly string[];
}

export interface HostAlias {
  readonly ip: string;
  readonly hostnames: readonly string[];
}
