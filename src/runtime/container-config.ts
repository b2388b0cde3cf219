import type { CgroupResources } from '../native.js';
import type { IdMapping } from './sandbox-config.js';

/** What a caller asks of one container. */
export interface ContainerConfig {
  /** Name inside the pod; a label for people, never part of a path. */
  readonly name: string;
  /** Counts the containers made under this name. */
  readonly attempt: number;
  /** Id (config digest) or a name of a stored image. */
  readonly image: string;
  /** The name by which a person asked for the image, for messages and lists; absent: `image`. */
  readonly userSpecifiedImage?: string;
  /** Replaces the image's ENTRYPOINT; an empty list counts as absent. */
  readonly command?: readonly string[];
  /** Replaces the image's CMD; an empty list counts as absent. */
  readonly args?: readonly string[];
  /** In order; the last entry of a name wins, and all win over the image's. */
  readonly env: readonly (readonly [name: string, value: string])[];
  readonly workingDirectory?: string;
  readonly mounts: readonly ContainerMount[];
  readonly devices?: readonly ContainerDevice[];
  /** Fully qualified names of CDI devices, `vendor.com/class=name`. */
  readonly cdiDevices?: readonly string[];
  /** The container whose process namespace it joins (an ephemeral container for debugging); same sandbox. */
  readonly processNamespaceOf?: string;
  /** A process namespace of its own, although the sandbox has a shared one or the host's. */
  readonly ownProcessNamespace?: boolean;
  readonly resources: ContainerResources;
  readonly security: ContainerSecurity;
  readonly terminal: boolean;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  /** Relative to the sandbox's log directory, usually `<container>/<attempt>.log`; absent: output is not kept. */
  readonly logPath?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** `SIGTERM`, `TERM` or `15`; absent: the image's, else SIGTERM. */
  readonly stopSignal?: string;
}

export type ContainerResources = CgroupResources & {
  /** −1000 to 1000; raised to what the kernel lets us set. */
  readonly oomScoreAdj?: number;
};

/** A mount asked for by the caller; destinations are resolved inside the container's root, and outer ones are mounted before those inside them. */
export type ContainerMount = BindMount | TmpfsMount | ImageMount;

export interface BindMount {
  readonly type: 'bind';
  /** Absolute path on the host, symbolic links followed; a directory is made when nothing is there. */
  readonly hostPath: string;
  readonly containerPath: string;
  readonly readOnly: boolean;
  /** Also what is mounted below it; only with `readOnly`. */
  readonly recursiveReadOnly?: boolean;
  /** Absent: private. */
  readonly propagation?: 'private' | 'hostToContainer' | 'bidirectional';
  /** Ids of the files as they are seen: an idmapped mount. Absent: as on the host. */
  readonly idMappings?: {
    readonly uids: readonly IdMapping[];
    readonly gids: readonly IdMapping[];
  };
  /** Of the mount itself: `noexec`, `nosuid`, `nodev`, `noatime`, `nodiratime`, `relatime`, `strictatime`. */
  readonly options?: readonly string[];
}

/** The content of an image, read-only. */
export interface ImageMount {
  readonly type: 'image';
  /** Id or name of a stored image. */
  readonly image: string;
  readonly containerPath: string;
  /** A directory inside the image, resolved in it. */
  readonly subPath?: string;
  readonly options?: readonly string[];
}

/** A device of the host, by a node of its own in the container. */
export interface ContainerDevice {
  /** A device node, or a directory of them. */
  readonly hostPath: string;
  readonly containerPath: string;
  /** Letters of `rwm`. */
  readonly permissions: string;
}

export interface TmpfsMount {
  readonly type: 'tmpfs';
  readonly containerPath: string;
  /** Absent: half of the memory, the kernel's default. */
  readonly sizeBytes?: number;
  readonly readOnly?: boolean;
}

export interface ContainerSecurity {
  /** Wins over `runAsUserName`, which wins over the image's USER. */
  readonly runAsUser?: number;
  readonly runAsUserName?: string;
  /** Absent: the user's group in the image's /etc/passwd, else 0. */
  readonly runAsGroup?: number;
  readonly supplementalGroups?: readonly number[];
  /** `Strict` leaves the memberships of the image's /etc/group out. Absent: `Merge`. */
  readonly supplementalGroupsPolicy?: 'Merge' | 'Strict';
  readonly privileged: boolean;
  readonly readOnlyRootFilesystem: boolean;
  readonly noNewPrivileges: boolean;
  /** Names with or without `CAP_`, any case, or `ALL`. */
  readonly addCapabilities: readonly string[];
  readonly dropCapabilities: readonly string[];
  /** `path`: an OCI seccomp profile (JSON) on the host. */
  readonly seccomp: 'default' | 'unconfined' | { readonly path: string };
  /** Absent: `default`, which is nothing where the kernel has no AppArmor. A named profile must be loaded. */
  readonly appArmor?: 'default' | 'unconfined' | { readonly profile: string };
  /** Absent: the usual ones. */
  readonly maskedPaths?: readonly string[];
  readonly readonlyPaths?: readonly string[];
}
