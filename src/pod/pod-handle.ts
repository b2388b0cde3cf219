import type { PodLogEntry, PodLogs, PodLogsOptions } from './pod-logs.js';
import type { PodResult } from './worker.js';

export interface PodHandleParts {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly ip: string | undefined;
  /** Names of its containers, init containers first. */
  readonly containers: readonly string[];
  readonly logs: PodLogs;
  readonly started: Promise<void>;
  readonly ended: Promise<PodResult>;
  readonly stop: (options: StopPodOptions) => Promise<void>;
  readonly remove: () => Promise<void>;
}

export interface StopPodOptions {
  /** Seconds between the stop signal and SIGKILL, instead of the pod's own; 0 kills at once. */
  readonly graceSeconds?: number;
}

/** A pod that this process runs. Dispose of it (`await using`), or call `remove`: it then ends and nothing of it stays. */
export class PodHandle implements AsyncDisposable {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  /** Address of the pod; undefined on the host's network. */
  readonly ip: string | undefined;
  /** Names of its containers, init containers first. */
  readonly containers: readonly string[];
  readonly #parts: PodHandleParts;

  constructor(parts: PodHandleParts) {
    this.name = parts.name;
    this.namespace = parts.namespace;
    this.uid = parts.uid;
    this.ip = parts.ip;
    this.containers = parts.containers;
    this.#parts = parts;
    // Whoever never asks for the result has not missed an unhandled rejection.
    parts.ended.catch(() => undefined);
  }

  /** Settles when every container but the init ones has been started once, or the pod has ended before. */
  started(): Promise<void> {
    return this.#parts.started;
  }

  /**
   * Settles when the pod has ended: every container has, and none is started again.
   * @throws StartError and others when a container could not be made or started.
   */
  wait(): Promise<PodResult> {
    return this.#parts.ended;
  }

  /** Lines of the containers' output; by default until the pod has ended. */
  logs(options: PodLogsOptions = {}): AsyncIterable<PodLogEntry> {
    return this.#parts.logs.read({ follow: true, ...options });
  }

  /** Ends the containers: stop signal, then SIGKILL. Success when they have ended already; a later call can shorten the wait. */
  stop(options: StopPodOptions = {}): Promise<void> {
    return this.#parts.stop(options);
  }

  /** Stops the pod and removes everything of it, its logs too. Success when it is gone already. */
  remove(): Promise<void> {
    return this.#parts.remove();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.remove();
  }
}
