import { closeSync } from 'node:fs';
import {
  describeError,
  FailedPreconditionError,
  NotFoundError,
  StartError,
  TimedOutError,
} from '../errors.js';
import type { ContainerConfig } from '../runtime/container-config.js';
import type { SupervisorClient } from '../runtime/supervisor.js';
import type { ContainerStatus, Exited } from '../runtime/supervisor-answers.js';
import { isSupervisorGone, type SandboxObserver } from '../sandbox/sandbox.js';
import {
  nowNanos,
  type SandboxReason,
  type SandboxRecord,
  sandboxPaths,
} from '../sandbox/sandbox-record.js';
import type { ContainerParts } from './container-parts.js';
import { createContainer } from './create.js';
import { readExitFile, removeExitFile } from './exit-file.js';
import { ExitWaiters } from './exit-waiters.js';
import { withRootsOf } from './mapped-roots.js';
import { namedError } from './named-error.js';
import { removeOciContainer } from './oci-container.js';
import { RunningContainers } from './running.js';
import { startContainer } from './start.js';
import { startOfAnotherEngine } from './started-status.js';
import {
  type ContainerRecord,
  type ExitReason,
  type ExitRecord,
  ended,
  observedExit,
  transition,
  unseenExit,
} from './state.js';

/** Time for a killed container to be reported. */
const KILL_TIMEOUT_MS = 10_000;
const SIGKILL = 9;

/**
 * Containers of all sandboxes. Stop and remove are idempotent. Exits come from the supervisor's events, its exit files, or, when it died, from here;
 * the first one recorded counts.
 */
export class ContainerService extends RunningContainers implements SandboxObserver {
  readonly #parts: ContainerParts;
  readonly #waiters = new ExitWaiters();
  /** Roots of containers that were created here and not started yet. */
  readonly #roots = new Map<string, number>();
  readonly #signalled = new Set<string>();

  constructor(parts: ContainerParts) {
    super(parts);
    this.#parts = parts;
    parts.sandboxes.observe(this);
  }

  get(id: string): ContainerRecord | undefined {
    return this.#parts.containers.get(id);
  }

  list(filter: { readonly sandboxId?: string } = {}): ContainerRecord[] {
    return this.#parts.containers
      .list()
      .map(({ value }) => value)
      .filter(({ sandboxId }) => filter.sandboxId === undefined || sandboxId === filter.sandboxId);
  }

  /** Makes a container without running it. A failing step leaves nothing behind; see `createContainer` for what it throws. */
  async create(sandboxId: string, config: ContainerConfig): Promise<ContainerRecord> {
    const sandbox = this.#parts.sandboxes.get(sandboxId);
    if (sandbox === undefined) throw new NotFoundError(`Sandbox "${sandboxId}" does not exist`);
    const { record, rootFd } = await createContainer(this.#parts, sandbox, config);
    this.#roots.set(record.id, rootFd);
    return record;
  }

  /**
   * Runs a created container. When that fails the container has exited with code 128 and reason `StartError`.
   * @throws StartError, or FailedPreconditionError when it has been started before.
   */
  start(id: string, options: { readonly signal?: AbortSignal } = {}): Promise<ContainerRecord> {
    return this.locks.run(id, async () => {
      const record = this.#require(id);
      const what = `Cannot start container "${record.config.name}"`;
      if (record.state !== 'created') {
        throw new FailedPreconditionError(`${what}: it is ${record.state}`);
      }
      const sandbox = this.#parts.sandboxes.get(record.sandboxId);
      if (sandbox?.state !== 'ready')
        throw new FailedPreconditionError(`${what}: its sandbox is not ready`);
      try {
        const client = await this.#parts.sandboxes.client(sandbox.id);
        const started =
          (await startOfAnotherEngine(client, { ...options, record })) ??
          (await startContainer(this.#parts, {
            ...options,
            record,
            sandbox,
            client,
            rootFd: await this.#openRoot(record, sandbox),
          }));
        this.#closeRoot(id);
        await this.#keepLayers(client, record);
        const { pid, startTicks, startedAtNanos } = started;
        return await this.#update(id, (current) =>
          // What was told meanwhile counts: that it runs, or ended at once.
          current.state !== 'created'
            ? current
            : transition(current, 'running', {
                process: { pid, startTicks },
                startedAtNanos: String(startedAtNanos),
              }),
        );
      } catch (error) {
        if (isSupervisorGone(error)) await this.#settleGone(record);
        else if (options.signal?.aborted !== true) await this.#startFailed(record, error);
        throw namedError(what, error);
      }
    });
  }

  /**
   * Sends the stop signal, waits `timeoutMs`, kills. Settles when the container has ended; absent or ended is success.
   * May be called again meanwhile: the shorter time counts.
   */
  async stop(
    id: string,
    options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<void> {
    const record = this.get(id);
    if (record === undefined || record.state === 'exited' || record.state === 'creating') return;
    if (record.state === 'created') {
      await this.locks.run(id, async () => {
        if (this.get(id)?.state !== 'created') return;
        this.#closeRoot(id);
        await this.#applyExit(id, this.#unseen(record, 'SandboxStopped'));
      });
      if (this.get(id)?.state !== 'running') return;
    }
    const exit = this.wait(id, options.signal === undefined ? {} : { signal: options.signal });
    // Somebody awaits it below in every case; this keeps an early rejection from being called unhandled.
    exit.catch(() => undefined);
    try {
      const client = await this.#parts.sandboxes.client(record.sandboxId);
      if (options.timeoutMs > 0 && !this.#signalled.has(id)) {
        this.#signalled.add(id);
        await this.#signal(client, record, record.stopSignal);
      }
      if (options.timeoutMs > 0 && (await isSettled(exit, options.timeoutMs)))
        return await settled(exit);
      await this.#signal(client, record, SIGKILL);
      if (await isSettled(exit, KILL_TIMEOUT_MS)) return await settled(exit);
      await this.#parts.native.killCgroup(record.cgroup, KILL_TIMEOUT_MS);
      if (await isSettled(exit, KILL_TIMEOUT_MS)) return await settled(exit);
      throw new TimedOutError(
        `Container "${record.config.name}" was killed, but its supervisor does not report the end`,
      );
    } catch (error) {
      if (!isSupervisorGone(error)) throw error;
      await this.#settleGone(record);
    } finally {
      this.#signalled.delete(id);
    }
  }

  /**
   * Waits for the end of a container, started or not.
   * @throws NotFoundError when there is none, or it is removed meanwhile without having ended.
   */
  async wait(id: string, options: { readonly signal?: AbortSignal } = {}): Promise<ExitRecord> {
    const record = this.#require(id);
    if (record.exit !== undefined) return record.exit;
    const exit = this.#waiters.wait(id, options);
    // Somebody awaits it below in every case; this keeps a rejection before that from being called unhandled.
    exit.catch(() => undefined);
    try {
      // Connected, so that events come; then what happened before.
      await this.#parts.sandboxes.client(record.sandboxId);
      await this.#mergeExitFile(record);
    } catch (error) {
      if (isSupervisorGone(error)) await this.#settleGone(record);
      else this.#waiters.fail(id, error);
    }
    return exit;
  }

  /** Ends the container if it runs and removes all that belongs to it but its log. Absent is success. */
  async remove(id: string): Promise<void> {
    await this.stop(id, { timeoutMs: 0 });
    await this.locks.run(id, async () => {
      const record = this.get(id);
      if (record === undefined) return;
      this.#closeRoot(id);
      await this.#forget(record);
      await this.#parts.native.killCgroup(record.cgroup, KILL_TIMEOUT_MS);
      await removeOciContainer(this.#parts.config, record);
      await this.#parts.native.removeCgroup(record.cgroup);
      await this.#parts.snapshotter.remove(id);
      await removeExitFile(this.#exits(record), id);
      await this.#parts.containers.remove(id);
      this.#waiters.fail(id, new NotFoundError(`Container "${id}" was removed`));
    });
  }

  /** Brings the record in line with what its supervisor says. Idempotent. */
  async merge(record: ContainerRecord, status: ContainerStatus | undefined): Promise<void> {
    if (status?.state === 'exited') {
      await this.#applyExit(record.id, observedExit(status));
    } else if (status?.state === 'running' && record.state !== 'running') {
      await this.#update(record.id, (current) =>
        current.state === 'created' || current.state === 'unknown'
          ? transition(current, 'running', {
              process: { pid: status.pid, startTicks: status.startTicks },
              startedAtNanos: String(status.startedAtNanos),
            })
          : current,
      );
    } else if (status === undefined) {
      await this.#mergeExitFile(record);
    }
  }

  /** Its supervisor cannot be asked at the moment. */
  async markUnknown(record: ContainerRecord): Promise<void> {
    await this.#update(record.id, (current) =>
      current.state === 'running' ? transition(current, 'unknown') : current,
    );
  }

  processExited(_sandboxId: string, exited: Exited): void {
    const { id } = exited;
    if (this.get(id) === undefined && !this.#waiters.has(id)) return;
    // Rejects only when nothing can be written at all; the exit file remains for the next engine.
    void this.#applyExit(id, observedExit(exited)).catch(() => undefined);
  }

  async sandboxEnded(sandbox: SandboxRecord, reason: SandboxReason): Promise<void> {
    const exits = sandboxPaths(this.#parts.config, sandbox.id).exits;
    for (const record of this.list({ sandboxId: sandbox.id })) {
      if (record.state === 'exited' || record.state === 'creating') continue;
      this.#closeRoot(record.id);
      const seen = await readExitFile(exits, record.id);
      const unseen = this.#unseen(record, reason === 'Stopped' ? 'SandboxStopped' : reason);
      await this.#applyExit(record.id, seen ?? unseen);
    }
  }

  async sandboxRemoving(sandboxId: string): Promise<void> {
    for (const { id } of this.list({ sandboxId })) await this.remove(id);
  }

  /** Gives descriptors back. Running containers go on. */
  close(): void {
    for (const id of [...this.#roots.keys()]) this.#closeRoot(id);
    this.#waiters.failAll(new FailedPreconditionError('The engine was closed'));
  }

  #require(id: string): ContainerRecord {
    const record = this.get(id);
    if (record === undefined) throw new NotFoundError(`Container "${id}" does not exist`);
    return record;
  }

  async #openRoot(record: ContainerRecord, sandbox: SandboxRecord): Promise<number> {
    const known = this.#roots.get(record.id);
    if (known !== undefined) return known;
    const rootFd = await withRootsOf(this.#parts, sandbox, (prepare) =>
      prepare(record.id, record.chain),
    );
    this.#roots.set(record.id, rootFd);
    return rootFd;
  }

  /** Leaves the mounts of the layers with the supervisor, for engines to come. Without it they mount anew, which costs memory only. */
  async #keepLayers(client: SupervisorClient, record: ContainerRecord): Promise<void> {
    try {
      for (const { chain } of [record, ...(record.mountedImages ?? [])]) {
        await client.keep(await this.#parts.snapshotter.sharedMounts(chain));
      }
    } catch {
      // Older, or full: see above.
    }
  }

  #closeRoot(id: string): void {
    const rootFd = this.#roots.get(id);
    if (rootFd === undefined) return;
    this.#roots.delete(id);
    closeSync(rootFd);
  }

  /** A container that ended between our look and the signal is no error: its exit is under way. */
  async #signal(client: SupervisorClient, record: ContainerRecord, signal: number): Promise<void> {
    try {
      await client.stop({ id: record.id, signal });
    } catch (error) {
      if ((error as { code?: string }).code !== 'SUPERVISOR_REFUSED') throw error;
      await this.#mergeExitFile(record);
    }
  }

  async #startFailed(record: ContainerRecord, error: unknown): Promise<void> {
    this.#closeRoot(record.id);
    await this.#applyExit(record.id, {
      exitCode: 128,
      signal: 0,
      oomKilled: false,
      reason: 'StartError',
      message: error instanceof StartError ? error.message : describeError(error),
      startedAtNanos: '0',
      finishedAtNanos: nowNanos(),
    });
  }

  /** The supervisor is dead: its sandbox ends, and with it the container. */
  async #settleGone(record: ContainerRecord): Promise<void> {
    await this.#parts.sandboxes.finish(record.sandboxId, 'SupervisorDied');
    const sandbox = this.#parts.sandboxes.get(record.sandboxId);
    if (sandbox !== undefined) await this.sandboxEnded(sandbox, sandbox.reason ?? 'SupervisorDied');
    else
      this.#waiters.fail(record.id, new NotFoundError(`Sandbox "${record.sandboxId}" was removed`));
  }

  async #mergeExitFile(record: ContainerRecord): Promise<void> {
    const exit = await readExitFile(this.#exits(record), record.id);
    if (exit !== undefined) await this.#applyExit(record.id, exit);
  }

  /** Records an exit; waiters hear of it also when the disk refuses the record. */
  async #applyExit(id: string, exit: ExitRecord): Promise<void> {
    let counted = exit;
    try {
      const record = await this.#parts.containers.update(
        id,
        (current) => current && ended(current, exit),
        { essential: true },
      );
      counted = record?.exit ?? exit;
    } finally {
      this.#waiters.settle(id, counted);
    }
  }

  async #update(
    id: string,
    change: (current: ContainerRecord) => ContainerRecord,
  ): Promise<ContainerRecord> {
    const updated = await this.#parts.containers.update(
      id,
      (current) => current && change(current),
      { essential: true },
    );
    if (updated === undefined) throw new NotFoundError(`Container "${id}" was removed`);
    return updated;
  }

  /** The supervisor drops its record too; one that is gone or cannot do it has none to drop. */
  async #forget(record: ContainerRecord): Promise<void> {
    if (this.#parts.sandboxes.get(record.sandboxId)?.state !== 'ready') return;
    try {
      const client = await this.#parts.sandboxes.client(record.sandboxId);
      if (client.isCurrent) await client.forget(record.id);
    } catch {
      // Nothing depends on it.
    }
  }

  #exits(record: ContainerRecord): string {
    return sandboxPaths(this.#parts.config, record.sandboxId).exits;
  }

  #unseen(record: ContainerRecord, reason: ExitReason): ExitRecord {
    const startedAtNanos = record.startedAtNanos ?? '0';
    return unseenExit(reason, { startedAtNanos, finishedAtNanos: nowNanos() });
  }
}

/** Whether `promise` settles within the time. */
async function isSettled(promise: Promise<unknown>, timeoutMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), timeoutMs);
  });
  const inTime = promise.then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([inTime, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function settled(exit: Promise<ExitRecord>): Promise<void> {
  await exit;
}
