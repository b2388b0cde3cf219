import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AlreadyExistsError, FailedPreconditionError, NotFoundError } from '../errors.js';
import { applyPodDefaults, type Pod } from '../objects/defaults.js';
import type { PodManifest } from '../objects/pod-schema.js';
import { validatePod } from '../objects/validate.js';
import type { Collection, RecordStore } from '../record-store.js';
import { Rollback } from '../rollback.js';
import { currentBootId, ownIdentity } from '../sandbox/process-identity.js';
import type { PodFacts } from './environment.js';
import type { PodEvent, PodPullProgress } from './events.js';
import { PodHandle, type StopPodOptions } from './pod-handle.js';
import type { PodLogEntry, PodLogsOptions } from './pod-logs.js';
import { hasLivingOwner, type PodRecord } from './pod-record.js';
import { recordLogs } from './record-logs.js';
import type { PodServices } from './services.js';
import {
  type ContainerStatus,
  initialStatuses,
  isEnded,
  type PodPhase,
  podPhase,
  terminated,
} from './status.js';
import { killGraceMs } from './terminate.js';
import { readTerminationMessage } from './termination-message.js';
import { PodWorker } from './worker.js';

const DEFAULT_NAMESPACE = 'default';
/** Exit code and reason of a container that is gone without a trace. @see contracts/kubernetes-semantics.md I14 */
const UNKNOWN_EXIT_CODE = 137;
/** How long a stopped pod's own worker, in another process, has to tidy up before somebody else does. */
const OWNER_TIDY_MS = 5000;
const OWNER_POLL_MS = 50;

export interface RunPodOptions {
  /**
   * What becomes of the pod when this process ends without having removed it: `kill` leaves nothing behind, `keep` leaves it running
   * for `cais ps` and `cais stop`. Absent: `kill`.
   */
  readonly onOwnerExit?: 'keep' | 'kill';
  /** Whoever stops the pod from another process removes it too. Absent: false. */
  readonly isRemovedAtEnd?: boolean;
  /** Ends the preparation with an error, or stops the running pod. */
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: PodEvent) => void;
  readonly onPullProgress?: (progress: PodPullProgress) => void;
}

/** A pod as a list shows it, with the state that its containers have now. */
export interface PodSummary {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly phase: PodPhase;
  readonly reason?: string;
  readonly ip?: string;
  readonly createdAtMs: number;
  /** Whether a worker looks after it; without one nothing is started again. */
  readonly hasOwner: boolean;
  readonly containers: readonly ContainerStatus[];
}

export interface PodServiceOptions {
  readonly records: RecordStore;
  readonly services: PodServices;
  readonly facts: Omit<PodFacts, 'podIps' | 'uid'>;
  readonly directories: { readonly logs: string; readonly pods: string };
}

interface RunningPod {
  readonly handle: PodHandle;
  readonly worker: PodWorker;
  readonly onOwnerExit: 'keep' | 'kill';
}

/** The pods of one root: those that this process runs, and the records of all. */
export class PodService {
  readonly #options: PodServiceOptions;
  readonly #records: Collection<PodRecord>;
  readonly #running = new Map<string, RunningPod>();
  #isClosed = false;

  constructor(options: PodServiceOptions) {
    this.#options = options;
    this.#records = options.records.collection<PodRecord>('pods');
  }

  /**
   * Makes a pod and runs it; settles when its images are there and its sandbox is up, while the containers are started.
   * A manifest without `restartPolicy` means `Never` here. Everything is undone when this fails.
   * @throws ValidationError, AlreadyExistsError, ImageUnavailableError, and what a sandbox throws.
   */
  async run(manifest: PodManifest, options: RunPodOptions = {}): Promise<PodHandle> {
    const { onOwnerExit = 'kill', isRemovedAtEnd = false, signal } = options;
    const pod = applyPodDefaults(validatePod({ value: manifest }), { restartPolicy: 'Never' });
    const record = await this.#createRecord(pod, { onOwnerExit, isRemovedAtEnd });
    const { uid } = record;
    const worker = new PodWorker({
      pod,
      services: this.#options.services,
      facts: { ...this.#options.facts, uid },
      logDirectory: record.logDirectory,
      directory: record.directory,
      onOwnerExit,
      onEvent: options.onEvent ?? (() => undefined),
      onPullProgress: options.onPullProgress ?? (() => undefined),
      isStopRequested: () => this.#records.get(uid)?.isStopRequested ?? true,
      onProgress: async ({ statuses, ...progress }) => {
        const change = { ...progress, containers: statuses };
        await this.#update(uid, (current) => ({ ...current, ...change }));
      },
    });
    const rollback = new Rollback();
    rollback.add('make the pod', () => this.#erase(record));
    try {
      await worker.prepare(signal);
    } catch (error) {
      throw await rollback.run(error);
    }
    rollback.commit();
    const ended = worker.run().finally(() => {
      // After close() the pod is not ours any more.
      return this.#isClosed ? undefined : this.#release(uid);
    });
    const stop = (stopOptions: StopPodOptions) =>
      worker.stop(killGraceMs(pod, stopOptions.graceSeconds));
    const handle = new PodHandle({
      name: pod.metadata.name,
      namespace: pod.metadata.namespace,
      uid,
      ip: worker.ip,
      containers: record.containers.map((status) => status.name),
      logs: worker.logs,
      started: worker.started,
      ended,
      stop,
      remove: async () => {
        await stop({});
        await ended.catch(() => undefined);
        await this.#erase(record);
        this.#running.delete(uid);
      },
    });
    this.#running.set(uid, { handle, worker, onOwnerExit });
    // A failing stop shows in wait(): the containers' own services report it.
    signal?.addEventListener('abort', () => void handle.stop().catch(() => undefined), {
      once: true,
    });
    return handle;
  }

  /** Every pod, oldest first. */
  list(): PodSummary[] {
    return this.#records
      .list()
      .map(({ value }) => this.#summarize(value))
      .sort((one, other) => one.createdAtMs - other.createdAtMs);
  }

  /** @throws NotFoundError */
  get(name: string, namespace = DEFAULT_NAMESPACE): PodSummary {
    return this.#summarize(this.#find(name, namespace));
  }

  /**
   * Ends a pod, whoever runs it, and gives its network, namespaces and cgroups back. What a foreground run made is removed too.
   * Success when it has ended already.
   * @throws NotFoundError
   */
  async stop(name: string, options: StopPodOptions & { namespace?: string } = {}): Promise<void> {
    const record = this.#find(name, options.namespace ?? DEFAULT_NAMESPACE);
    await this.#stop(record, options);
    if (record.isRemovedAtEnd) await this.#erase(record);
  }

  /**
   * Removes an ended pod and its logs; with `force` it is stopped first.
   * @throws NotFoundError
   * @throws FailedPreconditionError while it runs.
   */
  async remove(name: string, options: { namespace?: string; force?: boolean } = {}): Promise<void> {
    const record = this.#find(name, options.namespace ?? DEFAULT_NAMESPACE);
    const summary = this.#summarize(record);
    if (!isEnded(summary.phase)) {
      if (!options.force) {
        throw new FailedPreconditionError(
          `Cannot remove pod "${name}": it is running; stop it first, or force the removal`,
        );
      }
      await this.#stop(record, {});
    }
    await this.#erase(record);
  }

  /**
   * Lines of a pod's containers, also of a pod that another process runs.
   * @throws NotFoundError for an unknown pod or container.
   */
  async *logs(
    name: string,
    options: PodLogsOptions & { namespace?: string } = {},
  ): AsyncGenerator<PodLogEntry> {
    const { namespace = DEFAULT_NAMESPACE, container, signal } = options;
    const record = this.#find(name, namespace);
    if (container !== undefined && !record.containers.some((one) => one.name === container)) {
      const names = record.containers.map((one) => one.name).join(', ');
      throw new NotFoundError(`Pod "${name}" has no container "${container}": it has ${names}`);
    }
    const leaving = new AbortController();
    try {
      const logs = recordLogs(record, {
        read: () => this.#records.get(record.uid),
        containers: this.#options.services.containers,
        signal: AbortSignal.any([leaving.signal, ...(signal ? [signal] : [])]),
      });
      yield* logs.read(options);
    } finally {
      leaving.abort();
    }
  }

  /**
   * Removes what dead owners left that wanted nothing to stay. Called once, when the engine opens.
   * @returns what could not be removed: one such pod does not keep the engine from its work.
   */
  async collect(): Promise<readonly { readonly id: string; readonly error: unknown }[]> {
    const failures: { id: string; error: unknown }[] = [];
    for (const { value: record } of this.#records.list()) {
      if (record.onOwnerExit === 'keep' || hasLivingOwner(record)) continue;
      const id = `pod ${record.pod.metadata.name}`;
      await this.#erase(record).catch((error: unknown) => failures.push({ id, error }));
    }
    return failures;
  }

  /** Ends and removes the pods of this process that were not to outlive it; the others go on without it. */
  async close(): Promise<void> {
    const pods = [...this.#running.values()];
    for (const { worker, onOwnerExit } of pods) if (onOwnerExit === 'keep') worker.detach();
    await Promise.all(
      pods.filter(({ onOwnerExit }) => onOwnerExit === 'kill').map(({ handle }) => handle.remove()),
    );
    this.#isClosed = true;
  }

  async #createRecord(
    pod: Pod,
    options: Pick<PodRecord, 'onOwnerExit' | 'isRemovedAtEnd'>,
  ): Promise<PodRecord> {
    const { name, namespace } = pod.metadata;
    const uid = randomUUID();
    const record: PodRecord = {
      uid,
      pod,
      createdAtMs: Date.now(),
      logDirectory: join(this.#options.directories.logs, `${namespace}_${name}_${uid}`),
      directory: join(this.#options.directories.pods, uid),
      owner: ownIdentity(),
      bootId: currentBootId(),
      ...options,
      isStopRequested: false,
      phase: 'Pending',
      containers: initialStatuses(pod),
    };
    await this.#options.records.transaction((write) => {
      if (this.#records.list().some(({ value }) => isNamed(value, name, namespace))) {
        throw new AlreadyExistsError(
          `Pod "${name}" exists already in namespace "${namespace}": remove it with "cais rm ${name}", or use another name`,
        );
      }
      write.put(this.#records, uid, record);
    });
    return record;
  }

  #find(name: string, namespace: string): PodRecord {
    const found = this.#records.list().find(({ value }) => isNamed(value, name, namespace));
    if (found === undefined) {
      throw new NotFoundError(`Pod "${name}" does not exist in namespace "${namespace}"`);
    }
    return found.value;
  }

  async #stop(record: PodRecord, options: StopPodOptions): Promise<void> {
    const { uid, pod } = record;
    const { containers, sandboxes } = this.#options.services;
    await this.#update(uid, (current) => ({ ...current, isStopRequested: true }));
    const timeoutMs = killGraceMs(pod, options.graceSeconds);
    const ids = sandboxes.ofPod(uid).flatMap((id) => containers.ofSandbox(id));
    const running = ids.filter((id) => containers.isRunning(id));
    await Promise.all(running.map((id) => containers.stop(id, { timeoutMs })));
    await this.#awaitOwner(uid);
    await this.#release(uid);
    await this.#update(uid, (current) => {
      const { phase, containers: statuses } = this.#summarize(current);
      return { ...current, containers: statuses, phase: isEnded(phase) ? phase : 'Failed' };
    });
  }

  /** The pod's worker, if it lives in another process, sees the end too and tidies up: two at once would only collide. */
  async #awaitOwner(uid: string): Promise<void> {
    const deadline = performance.now() + OWNER_TIDY_MS;
    while (performance.now() < deadline) {
      const record = this.#records.get(uid);
      if (record === undefined || isEnded(record.phase) || !hasLivingOwner(record)) return;
      await sleep(OWNER_POLL_MS);
    }
  }

  /** Removes the containers and the sandbox; what is known of them goes to the record first. */
  async #release(uid: string): Promise<void> {
    const { containers, sandboxes } = this.#options.services;
    for (const sandboxId of sandboxes.ofPod(uid)) {
      const ids = containers.ofSandbox(sandboxId);
      await Promise.all(ids.map((id) => containers.stop(id, { timeoutMs: 0 })));
      await this.#update(uid, (current) => ({
        ...current,
        containers: this.#liveStatuses(current),
      }));
      await sandboxes.remove(sandboxId);
    }
  }

  /** Removes all traces of a pod; its record last, so that an interrupted removal can be repeated. */
  async #erase(record: PodRecord): Promise<void> {
    await this.#release(record.uid);
    const { removeTree } = this.#options.services;
    await removeTree(record.directory);
    await removeTree(record.logDirectory);
    await this.#records.remove(record.uid);
  }

  #summarize(record: PodRecord): PodSummary {
    const { pod, uid, ip, reason, createdAtMs } = record;
    const containers = this.#liveStatuses(record);
    const hasOwner = hasLivingOwner(record) && !isEnded(record.phase);
    const phase = isEnded(record.phase)
      ? record.phase
      : podPhase(containers, {
          restartPolicy: hasOwner ? pod.spec.restartPolicy : 'Never',
          isStopping: !hasOwner,
        });
    return {
      name: pod.metadata.name,
      namespace: pod.metadata.namespace,
      uid,
      phase,
      ...(reason === undefined ? {} : { reason }),
      ...(ip === undefined ? {} : { ip }),
      createdAtMs,
      hasOwner,
      containers,
    };
  }

  /** What is stored, brought up to date: a pod without a worker has nobody who stores how its containers end. */
  #liveStatuses(record: PodRecord): ContainerStatus[] {
    const { containers } = this.#options.services;
    return record.containers.map((status) => {
      const { name, state, containerId, restartCount: attempt } = status;
      if (state.type !== 'running' || containerId === undefined) return status;
      if (containers.isRunning(containerId)) return status;
      const exit = containers.exitOf(containerId) ?? {
        exitCode: UNKNOWN_EXIT_CODE,
        oomKilled: false,
        reason: 'ContainerStatusUnknown',
        startedAtMs: state.startedAtMs,
        finishedAtMs: state.startedAtMs,
      };
      const { exitCode } = exit;
      const message = readTerminationMessage(record, { name, attempt, exitCode });
      return { ...status, state: terminated(exit, message) };
    });
  }

  async #update(uid: string, change: (current: PodRecord) => PodRecord): Promise<void> {
    // A removed pod is not brought back by a late report.
    await this.#records.update(uid, (current) => current && change(current), { essential: true });
  }
}

function isNamed({ pod }: PodRecord, name: string, namespace: string): boolean {
  return pod.metadata.name === name && pod.metadata.namespace === namespace;
}
