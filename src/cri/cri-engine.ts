import type { ContainerStats } from '../container/container-stats.js';
import type { ExecOptions, ExecResult } from '../container/exec.js';
import type { ContainerRecord } from '../container/state.js';
import type { ImageFilesystems } from '../image/disk-usage.js';
import type { ImageRecord } from '../image/image-store.js';
import type { RemovedImage } from '../image/images.js';
import type { ContainerConfig, ContainerResources } from '../runtime/container-config.js';
import type { SandboxConfig } from '../runtime/sandbox-config.js';
import type { SandboxRecord } from '../sandbox/sandbox-record.js';
import type { SandboxStats } from '../sandbox/stats.js';

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
  stats(id: string, options?: { readonly processes?: boolean }): Promise<SandboxStats>;
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
  stats(id: string, options?: { readonly processes?: boolean }): Promise<ContainerStats>;
}

export interface CriImages {
  list(): ImageRecord[];
  find(reference: string): ImageRecord | undefined;
  pull(
    reference: string,
    options: { readonly auth?: PullAuth; readonly signal?: AbortSignal },
  ): Promise<ImageRecord>;
  remove(reference: string, options: { readonly force: boolean }): Promise<RemovedImage>;
  fsInfo(): Promise<ImageFilesystems>;
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
