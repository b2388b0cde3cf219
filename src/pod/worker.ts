import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FailedPreconditionError } from '../errors.js';
import type { ImagePullPolicy } from '../objects/container-schema.js';
import type { Pod, PodContainer } from '../objects/defaults.js';
import type { ContainerConfig } from '../runtime/container-config.js';
import { ContainerRunner } from './container-runner.js';
import { podDns } from './dns.js';
import { containerEnvironment, type PodFacts } from './environment.js';
import type { PodEvent, PodPullProgress } from './events.js';
import { podHostname } from './hostname.js';
import { attemptLogPath, PodLogs } from './pod-logs.js';
import { ensureImage } from './pull-policy.js';
import { containerResources, podResources, qosClass } from './resources.js';
import { checkNonRoot, containerSecurity } from './security.js';
import type { PodImage, PodServices } from './services.js';
import {
  type ContainerState,
  type ContainerStatus,
  initialStatuses,
  isEnded,
  type PodPhase,
  podExitCode,
  podPhase,
} from './status.js';
import { killGraceMs } from './terminate.js';
import { makeTerminationFile, readTerminationMessage } from './termination-message.js';
import { setUpVolumes, volumeMounts } from './volumes.js';

const RESOLV_CONF = '/etc/resolv.conf';
/** Exit code of a pod that ran out of time although no container failed; timeout(1) uses the same. */
const DEADLINE_EXIT_CODE = 124;

/** How a pod ended. */
export interface PodResult {
  readonly phase: PodPhase;
  /** That of the container which failed first, 0 if none did. */
  readonly exitCode: number;
  /** Why the pod as a whole ended, for example `DeadlineExceeded`; absent: its containers ended. */
  readonly reason?: string;
  readonly containers: readonly ContainerStatus[];
}

/** What the worker tells whoever keeps the pod's record. */
export interface PodProgress {
  readonly phase: PodPhase;
  readonly reason?: string;
  readonly statuses: readonly ContainerStatus[];
  readonly sandboxId?: string;
  readonly ip?: string;
}

export interface PodWorkerOptions {
  readonly pod: Pod;
  readonly services: PodServices;
  readonly facts: Omit<PodFacts, 'podIps'>;
  /** Private directories of the pod, made when needed. */
  readonly logDirectory: string;
  readonly directory: string;
  readonly onOwnerExit: 'keep' | 'kill';
  readonly onEvent: (event: PodEvent) => void;
  readonly onPullProgress: (progress: PodPullProgress) => void;
  /** Stores what is known; settles when it is durable. */
  readonly onProgress: (progress: PodProgress) => Promise<void>;
  /** Asked before each start: true when somebody in another process wants the pod to end. */
  readonly isStopRequested: () => boolean;
}

/**
 * Runs one pod to its end: `prepare` (images, volumes, sandbox), then `run` (init containers in order, then all containers together).
 * `stop` may come at any time and more than once. Nothing is removed here; whoever made the worker does that.
 */
export class PodWorker {
  readonly logs: PodLogs;
  readonly #options: PodWorkerOptions;
  readonly #stopping = new AbortController();
  readonly #runners = new Set<ContainerRunner>();
  #statuses: readonly ContainerStatus[];
  #images = new Map<string, PodImage>();
  #volumes: ReadonlyMap<string, string> = new Map();
  #sandbox: { readonly id: string; readonly ip: string | undefined } | undefined;
  #graceMs = 0;
  #reason: string | undefined;
  #deadline: NodeJS.Timeout | undefined;
  #isDetached = false;
  #isOver = false;
  #storedPhase: PodPhase = 'Pending';
  /** Main containers that have not been started yet. */
  readonly #unstarted: Set<string>;
  #markStarted: () => void = () => undefined;
  readonly #started: Promise<void>;

  constructor(options: PodWorkerOptions) {
    this.#options = options;
    this.#unstarted = new Set(options.pod.spec.containers.map(({ name }) => name));
    this.#started = new Promise((resolve) => {
      this.#markStarted = resolve;
    });
    this.logs = new PodLogs(options.logDirectory);
    this.#statuses = initialStatuses(options.pod);
  }

  get ip(): string | undefined {
    return this.#sandbox?.ip;
  }

  /** Settles when every container but the init ones has been started once, or the pod has ended before. */
  get started(): Promise<void> {
    return this.#started;
  }

  /** The engine is closing and the pod goes on without a worker: nothing that is seen from here on is recorded or acted on. */
  detach(): void {
    this.#isDetached = true;
    clearTimeout(this.#deadline);
  }

  /**
   * Makes everything ready that containers need.
   * @throws ImageUnavailableError, FailedPreconditionError and what a sandbox throws; the caller then removes what the record names.
   */
  async prepare(signal: AbortSignal | undefined): Promise<void> {
    const { pod, services, facts, directory, onEvent } = this.#options;
    this.#startDeadline();
    const either = AbortSignal.any([this.#stopping.signal, ...(signal ? [signal] : [])]);
    either.throwIfAborted();
    await this.#pullImages(either);
    for (const container of this.#containers()) {
      checkNonRoot(container, { pod, imageUser: this.#imageOf(container).user });
    }
    this.#volumes = await setUpVolumes(pod, join(directory, 'volumes'));
    either.throwIfAborted();
    const { metadata, spec } = pod;
    const sysctls = spec.securityContext?.sysctls?.map(
      ({ name, value }) => [name.replaceAll('/', '.'), value] as const,
    );
    this.#sandbox = await services.sandboxes.run(
      {
        name: metadata.name,
        namespace: metadata.namespace,
        uid: facts.uid,
        attempt: 0,
        hostname: podHostname(metadata.name, spec.hostname),
        labels: metadata.labels,
        annotations: metadata.annotations,
        logDirectory: this.#options.logDirectory,
        dns: podDns(spec, await readFile(RESOLV_CONF, 'utf8').catch(() => '')),
        hostNetwork: spec.hostNetwork ?? false,
        hostPid: spec.hostPID ?? false,
        hostIpc: spec.hostIPC ?? false,
        shareProcessNamespace: spec.shareProcessNamespace ?? false,
        hostAliases: (spec.hostAliases ?? []).map(({ ip, hostnames = [] }) => ({ ip, hostnames })),
        ...(sysctls === undefined ? {} : { sysctls: Object.fromEntries(sysctls) }),
        resources: podResources(pod),
        onOwnerExit: this.#options.onOwnerExit,
      },
      { signal: either },
    );
    await this.#store();
    onEvent({
      type: 'Normal',
      reason: 'SandboxReady',
      message: `Pod address ${this.ip ?? 'none'}`,
    });
  }

  /**
   * Runs the containers; `prepare` has succeeded.
   * @throws what creating or starting a container throws the first time; every other container has ended then.
   */
  async run(): Promise<PodResult> {
    try {
      const { initContainers, containers, restartPolicy } = this.#options.pod.spec;
      for (const container of initContainers) {
        if (this.#isToEnd()) break;
        const exitCode = await this.#makeRunner(container, true).run();
        if (exitCode !== 0 && restartPolicy === 'Never') return await this.#finish();
      }
      await this.#runTogether(containers);
      return await this.#finish();
    } catch (error) {
      // What has failed is what the caller must hear.
      if (!this.#isDetached) await this.#storeEnd().catch(() => undefined);
      throw error;
    } finally {
      clearTimeout(this.#deadline);
      this.#markStarted();
      this.logs.finish();
    }
  }

  /**
   * Ends the pod: stop signal to every container, SIGKILL after `graceMs` (at least 2 s unless 0, which kills at once).
   * A later call can only shorten the wait.
   */
  async stop(graceMs: number): Promise<void> {
    this.#graceMs = this.#stopping.signal.aborted ? Math.min(this.#graceMs, graceMs) : graceMs;
    this.#stopping.abort(new FailedPreconditionError('The pod is being stopped'));
    await Promise.all([...this.#runners].map((runner) => runner.stop(this.#graceMs)));
  }

  async #runTogether(containers: readonly PodContainer[]): Promise<void> {
    if (this.#isToEnd()) return;
    const runners = containers.map((container) => this.#makeRunner(container, false));
    let failure: { readonly error: unknown } | undefined;
    await Promise.all(
      runners.map(async (runner) => {
        try {
          await runner.run();
        } catch (error) {
          // The pod cannot run as described: the others are not left running without it.
          failure ??= { error };
          if (this.#isDetached) return;
          await this.stop(killGraceMs(this.#options.pod));
        }
      }),
    );
    if (failure !== undefined) throw failure.error;
  }

  async #finish(): Promise<PodResult> {
    const phase = this.#phase();
    await this.#storeEnd();
    const code = podExitCode(this.#statuses);
    return {
      phase: this.#reason === undefined ? phase : 'Failed',
      exitCode: this.#reason === undefined ? code : code || DEADLINE_EXIT_CODE,
      ...(this.#reason === undefined ? {} : { reason: this.#reason }),
      containers: this.#statuses,
    };
  }

  #makeRunner(container: PodContainer, isInit: boolean): ContainerRunner {
    const { services, pod, isStopRequested, onEvent } = this.#options;
    const sandbox = this.#sandbox;
    if (sandbox === undefined) throw new Error('run() was called before prepare()');
    const runner = new ContainerRunner({
      containers: services.containers,
      sandboxId: sandbox.id,
      container,
      restartPolicy: pod.spec.restartPolicy,
      graceMs: killGraceMs(pod),
      isInit,
      configure: (attempt) => this.#configure(container, attempt),
      terminationMessage: (attempt, exitCode) =>
        readTerminationMessage(this.#options, { name: container.name, attempt, exitCode }),
      isStopRequested,
      onState: (state, about) => this.#setState(container.name, { state, ...about }),
      isDetached: () => this.#isDetached,
      onAttempt: (attempt, ended) => {
        this.logs.add(container.name, { attempt, ended });
        this.#unstarted.delete(container.name);
        if (this.#unstarted.size === 0) this.#markStarted();
      },
      onEvent,
    });
    this.#runners.add(runner);
    return runner;
  }

  async #configure(container: PodContainer, attempt: number): Promise<ContainerConfig> {
    const { pod, facts, directory } = this.#options;
    const podIps = this.ip === undefined ? facts.hostIps : [this.ip];
    const { env, command, args } = containerEnvironment(container, {
      pod,
      facts: { ...facts, podIps },
    });
    return {
      name: container.name,
      attempt,
      image: this.#imageOf(container).id,
      command,
      args,
      env,
      ...(container.workingDir === undefined ? {} : { workingDirectory: container.workingDir }),
      mounts: [
        ...volumeMounts(container, this.#volumes),
        await makeTerminationFile(container, directory),
      ],
      resources: containerResources(container.resources, {
        qos: qosClass(pod),
        nodeMemoryBytes: facts.nodeMemoryBytes,
      }),
      security: containerSecurity(container, pod),
      terminal: container.tty ?? false,
      stdin: container.stdin ?? false,
      stdinOnce: container.stdinOnce ?? false,
      logPath: attemptLogPath(container.name, attempt),
      labels: pod.metadata.labels,
      annotations: pod.metadata.annotations,
    };
  }

  /** Each image once, all at the same time: the first failure ends the others. */
  async #pullImages(signal: AbortSignal): Promise<void> {
    const { services, onEvent, onPullProgress } = this.#options;
    const wanted = new Map<string, PodContainer>();
    for (const container of this.#containers()) {
      const known = wanted.get(container.image);
      if (known === undefined || asksMore(container, known)) wanted.set(container.image, container);
    }
    const failed = new AbortController();
    const either = AbortSignal.any([signal, failed.signal]);
    const pulls = [...wanted.values()].map(async (container) => {
      try {
        const image = await ensureImage(container, {
          images: services.images,
          signal: either,
          onEvent: (event) => onEvent({ type: 'Normal', container: container.name, ...event }),
          onProgress: (progress) => onPullProgress({ image: container.image, progress }),
        });
        this.#images.set(container.image, image);
      } catch (error) {
        failed.abort(error);
        throw error;
      }
    });
    await Promise.allSettled(pulls);
    if (failed.signal.aborted) throw failed.signal.reason;
  }

  #startDeadline(): void {
    const seconds = this.#options.pod.spec.activeDeadlineSeconds;
    if (seconds === undefined) return;
    const message = 'Pod was active on the node longer than the specified deadline';
    const expire = () => {
      this.#reason = 'DeadlineExceeded';
      this.#options.onEvent({ type: 'Normal', reason: 'DeadlineExceeded', message });
      // A failing stop shows as a container that never ends; run() reports what the container services say.
      void this.stop(killGraceMs(this.#options.pod)).catch(() => undefined);
    };
    // Node's timers hold 31 bits of milliseconds; a longer deadline than that (24 days) is not watched further.
    this.#deadline = setTimeout(expire, Math.min(seconds * 1000, 2 ** 31 - 1));
  }

  #containers(): readonly PodContainer[] {
    const { initContainers, containers } = this.#options.pod.spec;
    return [...initContainers, ...containers];
  }

  #imageOf(container: PodContainer): PodImage {
    const image = this.#images.get(container.image);
    if (image === undefined) throw new Error(`Image "${container.image}" was not made ready`);
    return image;
  }

  async #setState(
    name: string,
    change: { state: ContainerState; containerId?: string; restartCount: number },
  ): Promise<void> {
    this.#statuses = this.#statuses.map((status) =>
      status.name === name ? { ...status, ...change } : status,
    );
    await this.#store();
  }

  #phase(): PodPhase {
    return podPhase(this.#statuses, {
      restartPolicy: this.#options.pod.spec.restartPolicy,
      isStopping: this.#isToEnd(),
    });
  }

  #isToEnd(): boolean {
    return this.#stopping.signal.aborted || this.#options.isStopRequested();
  }

  /** Nothing is started any more. */
  #storeEnd(): Promise<void> {
    this.#isOver = true;
    return this.#store();
  }

  #store(): Promise<void> {
    const sandbox = this.#sandbox;
    const phase = this.#phase();
    // A phase that is the last one is for good: while one container has ended and another is just being started, it is not there yet.
    if (this.#isOver || !isEnded(phase)) this.#storedPhase = phase;
    return this.#options.onProgress({
      phase: this.#storedPhase,
      statuses: this.#statuses,
      ...(this.#reason === undefined ? {} : { reason: this.#reason }),
      ...(sandbox === undefined ? {} : { sandboxId: sandbox.id }),
      ...(sandbox?.ip === undefined ? {} : { ip: sandbox.ip }),
    });
  }
}

/** Whether the pull policy of `one` covers that of `other`, so that one pull serves both containers. */
function asksMore(one: PodContainer, other: PodContainer): boolean {
  const order: readonly ImagePullPolicy[] = ['Never', 'IfNotPresent', 'Always'];
  return order.indexOf(one.imagePullPolicy) > order.indexOf(other.imagePullPolicy);
}
