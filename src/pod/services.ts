import type { PullProgress } from '../image/pull-progress.js';
import type { ContainerConfig } from '../runtime/container-config.js';
import type { SandboxConfig } from '../runtime/sandbox-config.js';

/** What a pod needs of images. */
export interface PodImages {
  /** The stored image of a name or id. */
  find(reference: string): PodImage | undefined;
  pull(
    reference: string,
    options: {
      readonly signal?: AbortSignal;
      readonly onProgress?: (progress: PullProgress) => void;
    },
  ): Promise<PodImage>;
}

export interface PodImage {
  readonly id: string;
  readonly sizeBytes: number;
  /** USER of the image's configuration, empty when it has none. */
  readonly user: string;
}

/** What a pod needs of sandboxes. */
export interface PodSandboxes {
  run(
    config: SandboxConfig,
    options: { readonly signal?: AbortSignal },
  ): Promise<{ readonly id: string; readonly ip: string | undefined }>;
  /** Ends and removes the sandbox with its containers; absent is success. */
  remove(id: string): Promise<unknown>;
  /** Ids of the sandboxes that were made for a pod, also of half-made ones. */
  ofPod(uid: string): readonly string[];
}

/** How a container ended. */
export interface PodContainerExit {
  readonly exitCode: number;
  readonly oomKilled: boolean;
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
  /** A reason of its own, for example that the supervisor died; absent when the process simply ended. */
  readonly reason?: string;
}

/** What a pod needs of containers. Stop and remove succeed when nothing is left to do. */
export interface PodContainers {
  create(sandboxId: string, config: ContainerConfig): Promise<{ readonly id: string }>;
  start(id: string): Promise<unknown>;
  /** Sends the stop signal, waits, kills. A second call with a shorter time shortens the wait. */
  stop(id: string, options: { readonly timeoutMs: number }): Promise<unknown>;
  remove(id: string): Promise<unknown>;
  /** Settles when the container has ended and all its output is in its log. */
  wait(id: string, options: { readonly signal?: AbortSignal }): Promise<PodContainerExit>;
  /** Ids of all containers of a sandbox. */
  ofSandbox(sandboxId: string): readonly string[];
  isRunning(id: string): boolean;
  /** How it ended; undefined while it has not, and when there is no such container any more. */
  exitOf(id: string): PodContainerExit | undefined;
}

/** The lower ranks, as far as pods use them; the engine binds them, tests bring fakes. */
export interface PodServices {
  readonly images: PodImages;
  readonly sandboxes: PodSandboxes;
  readonly containers: PodContainers;
  /** Removes a tree without following links; absent is success. */
  removeTree(path: string): Promise<void>;
}
