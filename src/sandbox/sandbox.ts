import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { describeError, FailedPreconditionError, NotFoundError, RuntimeError } from '../errors.js';
import type { CgroupResources } from '../native.js';
import { Rollback } from '../rollback.js';
import { changedLimits, mergeResources } from '../runtime/resource-update.js';
import { checkResources } from '../runtime/resources.js';
import type { SandboxConfig } from '../runtime/sandbox-config.js';
import { SupervisorClient } from '../runtime/supervisor.js';
import type { Exited } from '../runtime/supervisor-answers.js';
import { SupervisorGoneError } from '../runtime/supervisor-errors.js';
import { NO_TELEMETRY } from '../telemetry.js';
import { checkHandlerFeatures, checkSandboxConfig } from './check-config.js';
import { type DialOptions, dialLoopback } from './dial.js';
import { KeyedLock } from './keyed-lock.js';
import { holdNetworkNamespace } from './namespace-hold.js';
import type { DetachOptions } from './pod-network.js';
import { currentBootId, isAlive, ownIdentity } from './process-identity.js';
import {
  newId,
  nowNanos,
  type SandboxReason,
  type SandboxRecord,
  sandboxPaths,
} from './sandbox-record.js';
import {
  dismantle,
  killSandboxProcesses,
  SANDBOX_STEPS,
  type SandboxBuild,
  type SandboxParts,
} from './sandbox-steps.js';
import { shutDown } from './shut-down.js';
import { type SandboxStats, SandboxStatsReader } from './stats.js';

/** Grace period of a stop whose caller names none; Kubernetes' own default. */
const DEFAULT_GRACE_MS = 30_000;
/** How long a supervisor that closed its connection may take to be gone. */
const SUPERVISOR_EXIT_MS = 2_000;
const POLL_MS = 20;
/** A supervisor that is busy is not worth waiting for when all that is at stake is memory. */
const KEPT_MOUNT_TIMEOUT_MS = 1_000;

/** Who wants to know what happens in sandboxes: the containers' service. */
export interface SandboxObserver {
  /** A container or exec ended. */
  processExited(sandboxId: string, exited: Exited): void;
  /** No process of the sandbox is left; whatever has no exit record yet ended by `reason`. */
  sandboxEnded(record: SandboxRecord, reason: SandboxReason): Promise<void>;
  /** The sandbox is about to be removed: its containers go first. */
  sandboxRemoving(sandboxId: string): Promise<void>;
}

/**
 * Sandboxes: the namespaces, cgroup, network and supervisor that the containers of a pod share. Stop and remove are idempotent; everything is on disk,
 * so that another process can look, stop and take over.
 */
export class SandboxService {
  readonly #parts: SandboxParts;
  readonly #clients = new Map<string, Promise<SupervisorClient>>();
  readonly #locks = new KeyedLock();
  readonly #observers = new Set<SandboxObserver>();
  readonly #endings = new Set<Promise<void>>();
  readonly #stats: SandboxStatsReader;
  #closing = false;

  constructor(parts: SandboxParts) {
    this.#parts = parts;
    this.#stats = new SandboxStatsReader(parts.native);
  }

  observe(observer: SandboxObserver): void {
    this.#observers.add(observer);
  }

  get(id: string): SandboxRecord | undefined {
    return this.#parts.sandboxes.get(id);
  }

  list(): SandboxRecord[] {
    return this.#parts.sandboxes.list().map(({ value }) => value);
  }

  /**
   * Makes a sandbox, step by step; when one fails, everything before it is undone. The engine owns it afterwards.
   * @throws InvalidArgumentError for a configuration that cannot work, or a runtime handler that is not configured; otherwise the failed step's error, with its code.
   */
  run(config: SandboxConfig, options: { signal?: AbortSignal } = {}): Promise<SandboxRecord> {
    const { telemetry = NO_TELEMETRY } = this.#parts;
    const { name, namespace } = config;
    const about = { attributes: { pod: `${namespace}/${name}` } };
    return telemetry.observe('sandbox.start', about, () => this.#run(config, options));
  }

  async #run(config: SandboxConfig, options: { signal?: AbortSignal }): Promise<SandboxRecord> {
    checkSandboxConfig(config);
    const { config: settings } = this.#parts;
    const handler = await this.#parts.handlers.resolve(config.runtimeHandler);
    checkHandlerFeatures(config, handler);
    const id = newId();
    const build: SandboxBuild = {
      record: {
        id,
        config,
        state: 'initializing',
        owner: ownIdentity(),
        bootId: currentBootId(),
        handler,
        cgroup: `${config.cgroupParent ?? settings.cgroupParent}/${id}`,
        supervisorCgroup: `${settings.cgroupParent}.supervisors/${id}`,
        createdAtNanos: nowNanos(),
      },
      sandboxCgroups: [],
      supervisorCgroups: [],
    };
    const rollback = new Rollback();
    for (const step of SANDBOX_STEPS) {
      try {
        options.signal?.throwIfAborted();
        await step.run(this.#parts, build, rollback);
      } catch (error) {
        throw await rollback.run(failedStep(config, step.name, error));
      }
    }
    rollback.commit();
    if (build.client !== undefined) this.#use(id, build.client);
    return build.record;
  }

  /**
   * Ends every process of the sandbox and gives its network back; the record stays, `notready`. Absent or already stopped is success.
   * A container gets its stop signal, and SIGKILL after `graceMs`.
   */
  stop(id: string, options: { graceMs?: number; signal?: AbortSignal } = {}): Promise<void> {
    return this.#locks.run(id, async () => {
      const record = this.get(id);
      if (record === undefined || record.state === 'notready') return;
      await this.#markStopping(id);
      const netns = holdNetworkNamespace(record);
      try {
        await this.#shutDown(id, options);
        await this.#end(record, 'Stopped', netns);
      } finally {
        netns.release();
      }
    });
  }

  /** Stops the sandbox without grace if it runs, and removes all that belongs to it, its containers first and its record last. Absent is success. */
  async remove(id: string): Promise<void> {
    await this.stop(id, { graceMs: 0 });
    if (this.get(id) === undefined) return;
    for (const observer of this.#observers) await observer.sandboxRemoving(id);
    await this.#locks.run(id, async () => {
      const record = this.get(id);
      if (record === undefined) return;
      this.#drop(id);
      await dismantle(this.#parts, record);
      await this.#parts.sandboxes.remove(id);
    });
  }

  /**
   * The connection to a sandbox's supervisor, made when there is none: as an observer, ownership is only taken by {@link adopt}.
   * @throws SupervisorGoneError when the supervisor is dead.
   */
  client(id: string): Promise<SupervisorClient> {
    return this.#clients.get(id) ?? this.#connect(id, 'observe');
  }

  /**
   * Becomes the owner of an ownerless sandbox.
   * @throws FailedPreconditionError when it has an owner. @throws SupervisorGoneError.
   */
  async adopt(id: string): Promise<SupervisorClient> {
    const existing = this.#clients.get(id);
    const client = existing === undefined ? await this.#connect(id, 'take') : await existing;
    if (!client.isOwner) await client.takeOwnership();
    await this.#update(id, (current) => ({ ...current, owner: ownIdentity() }));
    return client;
  }

  /**
   * The mount of a layer that a running supervisor keeps, if one does; the descriptor is the caller's. A supervisor that does not answer counts as
   * one that has none.
   */
  async keptMount(key: string): Promise<number | undefined> {
    for (const { id, state, bootId, supervisor } of this.list()) {
      if (state !== 'ready' || bootId !== currentBootId()) continue;
      if (supervisor === undefined || !isAlive(supervisor)) continue;
      try {
        const client = await this.client(id);
        const fd = await client.keptMount(key, { timeoutMs: KEPT_MOUNT_TIMEOUT_MS });
        if (fd !== undefined) return fd;
      } catch {
        // The next one may have it; else it is mounted anew.
      }
    }
    return undefined;
  }

  /** What a whole sandbox uses; zeros where it does not run. @throws NotFoundError. */
  async stats(id: string, options: { readonly processes?: boolean } = {}): Promise<SandboxStats> {
    return this.#stats.read(this.#require(id), options);
  }

  /**
   * Changes limits of the whole sandbox; what is absent stays as it is.
   * @throws NotFoundError, FailedPreconditionError when it does not run, InvalidArgumentError, NativeError when the kernel refuses.
   */
  updateResources(id: string, resources: CgroupResources): Promise<void> {
    return this.#locks.run(id, async () => {
      const { state, cgroup, config } = this.#require(id);
      if (state !== 'ready') {
        throw new FailedPreconditionError(
          `Cannot update the resources of sandbox "${config.name}": it is ${state}`,
        );
      }
      const merged = mergeResources(config.resources ?? {}, resources);
      checkResources(merged);
      await this.#parts.native.updateCgroup(cgroup, changedLimits(resources, merged));
      await this.#update(id, (current) => ({
        ...current,
        config: { ...current.config, resources: merged },
      }));
    });
  }

  /**
   * Connects to a TCP port inside the pod, as one of its own processes would by its loopback address. The socket is the caller's; each end of it
   * may end by itself.
   * @throws NotFoundError, FailedPreconditionError when the sandbox is not ready or nobody listens.
   */
  async dial(id: string, port: number, options: DialOptions = {}): Promise<Socket> {
    const { state, supervisor, netnsPath } = this.#require(id);
    if (state !== 'ready' || supervisor === undefined || !isAlive(supervisor)) {
      throw new FailedPreconditionError(`Sandbox "${id}" is not running`);
    }
    const where = netnsPath === undefined ? {} : { netnsPath };
    return dialLoopback(this.#parts.native, { ...where, port, ...options });
  }

  /** Records that a sandbox of which no supervisor is left has ended, and gives back what it held. Idempotent. */
  finish(id: string, reason: SandboxReason): Promise<void> {
    return this.#locks.run(id, async () => {
      const record = this.get(id);
      if (record !== undefined && record.state !== 'notready') await this.#end(record, reason);
    });
  }

  /** Removes a sandbox that was never finished, or that nobody can want any more, without asking its supervisor. */
  discard(id: string): Promise<void> {
    return this.finish(id, 'SupervisorDied').then(() => this.remove(id));
  }

  /** Ends the connections; owned sandboxes follow their `onOwnerExit`. */
  async close(): Promise<void> {
    this.#closing = true;
    for (const id of [...this.#clients.keys()]) this.#drop(id);
    await Promise.all(this.#endings);
  }

  #require(id: string): SandboxRecord {
    const record = this.get(id);
    if (record === undefined) throw new NotFoundError(`Sandbox "${id}" does not exist`);
    return record;
  }

  #connect(id: string, ownership: 'take' | 'observe'): Promise<SupervisorClient> {
    if (this.get(id) === undefined) {
      return Promise.reject(new NotFoundError(`Sandbox "${id}" does not exist`));
    }
    if (this.#closing) return Promise.reject(new FailedPreconditionError('The engine is closed'));
    const connecting = SupervisorClient.connect({
      native: this.#parts.native,
      socketPath: sandboxPaths(this.#parts.config, id).controlSocket,
      ownership,
    }).then((client) => {
      if (this.#closing) {
        client.close();
        throw new FailedPreconditionError('The engine is closed');
      }
      this.#use(id, client, connecting);
      return client;
    });
    this.#clients.set(id, connecting);
    connecting.catch(() => {
      if (this.#clients.get(id) === connecting) this.#clients.delete(id);
    });
    return connecting;
  }

  #use(id: string, client: SupervisorClient, entry = Promise.resolve(client)): void {
    this.#clients.set(id, entry);
    client.onExit((exited) => {
      for (const observer of this.#observers) observer.processExited(id, exited);
    });
    client.onClose(() => {
      if (this.#clients.get(id) === entry) this.#clients.delete(id);
      const ending = this.#supervisorClosed(id)
        // Nobody waits for this; the next engine that opens finds the same state and finishes it.
        .catch(() => undefined)
        .finally(() => this.#endings.delete(ending));
      this.#endings.add(ending);
    });
  }

  #drop(id: string): void {
    const entry = this.#clients.get(id);
    this.#clients.delete(id);
    entry?.then(
      (client) => client.close(),
      () => undefined,
    );
  }

  /** The supervisor closed our connection: it has ended, or is about to. */
  async #supervisorClosed(id: string): Promise<void> {
    const supervisor = this.get(id)?.supervisor;
    const deadline = performance.now() + SUPERVISOR_EXIT_MS;
    while (supervisor !== undefined && isAlive(supervisor) && performance.now() < deadline) {
      await delay(POLL_MS);
    }
    // Still there, so it is not dead but no longer talks to us; whoever needs it next connects again.
    if (supervisor !== undefined && isAlive(supervisor)) return;
    await this.finish(id, this.get(id)?.stopping === true ? 'Stopped' : 'SupervisorDied');
  }

  async #shutDown(id: string, options: { graceMs?: number; signal?: AbortSignal }): Promise<void> {
    try {
      const client = await this.client(id);
      await shutDown(client, options.graceMs ?? DEFAULT_GRACE_MS, options.signal);
    } catch (error) {
      // Whoever gave up waiting has not asked for a kill.
      options.signal?.throwIfAborted();
      // Gone, stuck or of another version: the kill that follows needs no supervisor.
      if (!(error instanceof RuntimeError)) throw error;
    }
  }

  async #end(
    record: SandboxRecord,
    reason: SandboxReason,
    netns: DetachOptions = {},
  ): Promise<void> {
    this.#drop(record.id);
    if (record.bootId === currentBootId()) await killSandboxProcesses(this.#parts, record);
    for (const observer of this.#observers) await observer.sandboxEnded(record, reason);
    if (!record.config.hostNetwork) await this.#parts.network.detach(record.id, netns);
    await this.#update(record.id, ({ ip, additionalIps, netnsPath, supervisor, ...rest }) => ({
      ...rest,
      state: 'notready',
      reason: rest.reason ?? reason,
    }));
  }

  /** Only decides which reason another engine writes down; no full disk keeps a pod from being stopped. */
  async #markStopping(id: string): Promise<void> {
    try {
      await this.#update(id, (current) => ({ ...current, stopping: true }));
    } catch (error) {
      if ((error as { code?: string }).code !== 'ENOSPC') throw error;
    }
  }

  async #update(id: string, change: (current: SandboxRecord) => SandboxRecord): Promise<void> {
    await this.#parts.sandboxes.update(id, (current) => current && change(current), {
      essential: true,
    });
  }
}

function failedStep(config: SandboxConfig, step: string, error: unknown): unknown {
  if (!(error instanceof RuntimeError)) return error;
  return new RuntimeError(
    error.code,
    `Cannot make sandbox "${config.name}" (step ${step}): ${describeError(error)}`,
    { cause: error },
  );
}

/** Whether an error says that the supervisor is dead, not that it refused. */
export function isSupervisorGone(error: unknown): boolean {
  return error instanceof SupervisorGoneError;
}
