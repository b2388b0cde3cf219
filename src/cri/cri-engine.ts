import type { ExecOptions, ExecResult } from '../container/exec.js';
import type { ContainerRecord } from '../container/state.js';
import type { ImageRecord } from '../image/image-store.js';
import type { RemovedImage } from '../image/images.js';
import type { ContainerConfig, ContainerResources } from '../runtime/container-config.js';
import type { SandboxConfig } from '../runtime/sandbox-config.js';
import type { SandboxRecord } from '../sandbox/sandbox-record.js';

/** What the CRI socket asks of the engine, and nothing else: the engine itself is one, and so is a fake of a test. */
export interface CriEngine {
  readonly config: { readonly root: string; readonly run: string };
  readonly sandboxes: CriSandboxes;
  readonly containers: CriContainers;
  readonly images: CriImages;
  readonly events: {
    /** What happens to containers from now on; ends with the signal. */
    subscribe(options: { readonly signal: AbortSignal }): AsyncIterable<ContainerEvent>;
  };
  networkStatus(): NetworkStatus | Promise<NetworkStatus>;
  runtimeHandlers(): readonly RuntimeHandler[] | Promise<readonly RuntimeHandler[]>;
}

export interface CriSandboxes {
  get(id: string): SandboxRecord | undefined;
  list(): SandboxRecord[];
  run(config: SandboxConfig): Promise<SandboxRecord>;
  stop(
    id: string,
    options: { readonly graceMs: number; readonly signal?: AbortSignal },
  ): Promise<void>;
  remove(id: string): Promise<void>;
  discard(id: string): Promise<void>;
  stats(id: string, options?: { readonly processes?: boolean }): Promise<SandboxUsage>;
}

export interface CriContainers {
  get(id: string): ContainerRecord | undefined;
  list(filter?: { readonly sandboxId?: string }): ContainerRecord[];
  create(sandboxId: string, config: ContainerConfig): Promise<ContainerRecord>;
  start(id: string): Promise<ContainerRecord>;
  stop(
    id: string,
    options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<void>;
  remove(id: string): Promise<void>;
  exec(id: string, options: ExecOptions): Promise<ExecResult>;
  updateResources(id: string, resources: ContainerResources): Promise<unknown>;
  reopenLog(id: string): Promise<void>;
  stats(id: string, options?: { readonly processes?: boolean }): Promise<ContainerUsage>;
}

export interface CriImages {
  list(): ImageRecord[];
  find(reference: string): ImageRecord | undefined;
  pull(
    reference: string,
    options: { readonly auth?: PullAuth; readonly signal?: AbortSignal },
  ): Promise<ImageRecord>;
  remove(reference: string, options: { readonly force: boolean }): Promise<RemovedImage>;
  fsInfo(): Promise<ImageFsInfo>;
}

/** Credentials of one pull, in the forms of the CRI; empty texts count as absent. */
export interface PullAuth {
  readonly username: string;
  readonly password: string;
  readonly auth: string;
  readonly serverAddress: string;
  readonly identityToken: string;
  readonly registryToken: string;
}

/** Addresses at which a client finds its streams, each good for one connection. */
export interface CriStreaming {
  execUrl(request: StreamRequest & { readonly command: readonly string[] }): string;
  attachUrl(request: StreamRequest): string;
  portForwardUrl(request: {
    readonly sandboxId: string;
    readonly ports: readonly number[];
  }): string;
}

export interface StreamRequest {
  readonly containerId: string;
  readonly terminal: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

export interface ContainerEvent {
  readonly kind: 'created' | 'started' | 'stopped' | 'deleted';
  readonly containerId: string;
  readonly sandboxId: string;
  readonly createdAtNanos: bigint;
}

/** Whether pods get a network, and why not. */
export interface NetworkStatus {
  readonly ready: boolean;
  /** One word in CamelCase; empty when ready. */
  readonly reason: string;
  readonly message: string;
}

export interface RuntimeHandler {
  readonly name: string;
  /** Whether sandboxes that ask for none get it. */
  readonly isDefault: boolean;
  readonly features: {
    readonly recursiveReadOnlyMounts: boolean;
    readonly userNamespaces: boolean;
  };
}

/** Waits of at least one task, and of all at once. */
export interface Pressure {
  readonly some: PressureLine;
  readonly full: PressureLine;
}

export interface PressureLine {
  /** Percent of the last 10, 60 and 300 seconds. */
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
  readonly totalMicros: number;
}

/** What a cgroup uses, and what follows from it. */
export interface Usage {
  readonly atNanos: bigint;
  readonly cgroup: CgroupNumbers;
  readonly cpuUsageNanoCores?: number;
  readonly memoryAvailableBytes?: number;
  readonly swapAvailableBytes?: number;
}

/** Numbers of the kernel; 0 where it has none, limits -1 where there is none. */
export interface CgroupNumbers {
  readonly cpuUsageNanos: number;
  readonly cpuUserNanos: number;
  readonly cpuSystemNanos: number;
  readonly cpuPeriods: number;
  readonly cpuThrottledPeriods: number;
  readonly cpuThrottledNanos: number;
  readonly memoryUsageBytes: number;
  readonly memoryWorkingSetBytes: number;
  readonly memoryLimitBytes: number;
  readonly memoryRssBytes: number;
  readonly memoryCacheBytes: number;
  readonly memoryMappedFileBytes: number;
  readonly memoryKernelBytes: number;
  readonly memorySwapBytes: number;
  readonly memoryMaxUsageBytes: number;
  readonly memoryFailures: number;
  readonly pageFaults: number;
  readonly majorPageFaults: number;
  /** Threads. */
  readonly pids: number;
  readonly pidsLimit: number;
  readonly oomKills: number;
  readonly devices: readonly DeviceNumbers[];
  readonly hugepages: readonly {
    readonly pageSize: string;
    readonly usageBytes: number;
    readonly maxUsageBytes: number;
  }[];
  readonly cpuPressure?: Pressure;
  readonly memoryPressure?: Pressure;
  readonly ioPressure?: Pressure;
  /** Only when asked for. */
  readonly processes?: {
    readonly processes: number;
    readonly threads: number;
    readonly descriptors: number;
    readonly sockets: number;
    /** Of the first process; -1: none. */
    readonly openFilesSoftLimit: number;
  };
}

/** Transfers of one block device. */
export interface DeviceNumbers {
  readonly name: string;
  readonly major: number;
  readonly minor: number;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly reads: number;
  readonly writes: number;
}

export interface ContainerUsage extends Usage {
  readonly writableLayer?: WritableLayerUsage;
}

export interface WritableLayerUsage {
  readonly atNanos: bigint;
  readonly usedBytes: number;
  readonly usedInodes: number;
  readonly mountpoint: string;
  readonly filesystem: {
    readonly sizeBytes: number;
    readonly inodes: number;
    readonly freeInodes: number;
  };
}

export interface SandboxUsage extends Usage {
  /** Without loopback, the pod's own first; absent with the node's network. */
  readonly network?: readonly InterfaceNumbers[];
}

/** What went through an interface since it was made. */
export interface InterfaceNumbers {
  readonly name: string;
  readonly rxBytes: number;
  readonly rxPackets: number;
  readonly rxErrors: number;
  readonly rxDropped: number;
  readonly txBytes: number;
  readonly txPackets: number;
  readonly txErrors: number;
  readonly txDropped: number;
}

/** How much of a file system images or containers use. */
export interface FilesystemUsage {
  readonly atNanos: bigint;
  readonly mountpoint: string;
  readonly usedBytes: number;
  readonly usedInodes: number;
}

export interface ImageFsInfo {
  readonly images: FilesystemUsage;
  readonly containers: FilesystemUsage;
}
