import { setTimeout as sleep } from 'node:timers/promises';
import { namedError } from '../container/named-error.js';
import { describeError } from '../errors.js';
import type { PodContainer, RestartPolicy } from '../objects/defaults.js';
import type { ContainerConfig } from '../runtime/container-config.js';
import { RestartBackoff } from './backoff.js';
import type { PodEvent } from './events.js';
import { formatDuration } from './pull-policy.js';
import type { PodContainerExit, PodContainers } from './services.js';
import { type ContainerState, CRASH_LOOP_BACK_OFF, isRestarted, terminated } from './status.js';

/** How soon a waiting restart learns that another process wants the pod to end. */
const STOP_REQUEST_POLL_MS = 500;
/** Exit code of a container whose process could not be started again. @see contracts/kubernetes-semantics.md I14 */
const START_ERROR_CODE = 128;

export interface ContainerRunnerOptions {
  readonly containers: PodContainers;
  readonly sandboxId: string;
  readonly container: PodContainer;
  readonly restartPolicy: RestartPolicy;
  /** Time between the stop signal and SIGKILL when `stop` was not told another. */
  readonly graceMs: number;
  /** An init container that ended well is not started again, whatever the policy. */
  readonly isInit: boolean;
  /** The configuration of the next attempt, with all that it needs on the host. */
  readonly configure: (attempt: number) => Promise<ContainerConfig>;
  /** What the container said of its end. */
  readonly terminationMessage: (attempt: number, exitCode: number) => string | undefined;
  /** Asked before each start: true when somebody in another process wants the pod to end. */
  readonly isStopRequested: () => boolean;
  /** The engine is closing while the container goes on without it: what happens from here on is not recorded. */
  readonly isDetached: () => boolean;
  readonly onState: (
    state: ContainerState,
    attempt: { containerId?: string; restartCount: number },
  ) => Promise<void>;
  /** A container has been made; `ended` settles when its output is complete. */
  readonly onAttempt: (attempt: number, ended: Promise<unknown>) => void;
  readonly onEvent: (event: PodEvent) => void;
}

/** Keeps one container of a pod running as its restart policy orders, until it ends for good or is stopped. */
export class ContainerRunner {
  readonly #options: ContainerRunnerOptions;
  readonly #stopping = new AbortController();
  readonly #backoff = new RestartBackoff();
  #graceMs: number;
  #currentId: string | undefined;
  #isRunning = false;

  constructor(options: ContainerRunnerOptions) {
    this.#options = options;
    this.#graceMs = options.graceMs;
  }

  get name(): string {
    return this.#options.container.name;
  }

  /**
   * Runs the container until it ends for good.
   * @returns its last exit code; undefined when it was stopped before it ever ran.
   * @throws what creating or starting the first attempt throws: nothing on this machine will change that by itself.
   */
  async run(): Promise<number | undefined> {
    let exitCode: number | undefined;
    for (let attempt = 0; !this.#isToEnd(); attempt += 1) {
      const exit = await this.#runOnce(attempt);
      if (exit === undefined) break;
      exitCode = exit.exitCode;
      if (!this.#willRestart(exitCode)) break;
      await this.#backOff(exit, attempt);
    }
    return exitCode;
  }

  /** Ends the container for good; a second call with a shorter time shortens the wait. Settles when it has ended. */
  async stop(graceMs: number): Promise<void> {
    this.#graceMs = graceMs;
    this.#stopping.abort();
    const id = this.#currentId;
    if (id === undefined || !this.#isRunning) return;
    const { containers, onEvent, container } = this.#options;
    onEvent({
      type: 'Normal',
      reason: 'Killing',
      message: `Stopping container ${container.name}`,
      container: container.name,
    });
    await containers.stop(id, { timeoutMs: graceMs });
  }

  #willRestart(exitCode: number): boolean {
    const { isInit, restartPolicy } = this.#options;
    if (this.#isToEnd() || (isInit && exitCode === 0)) return false;
    return isRestarted(restartPolicy, exitCode);
  }

  #isToEnd(): boolean {
    return this.#stopping.signal.aborted || this.#options.isStopRequested();
  }

  async #runOnce(attempt: number): Promise<PodContainerExit | undefined> {
    const { containers, container, onState, onEvent, configure, sandboxId } = this.#options;
    const previousId = this.#currentId;
    const startedAtMs = Date.now();
    try {
      const config = await configure(attempt);
      const { id } = await containers.create(sandboxId, config).catch((error: unknown) => {
        // Containers know their image by its id only, which tells a person nothing.
        throw namedError(`Cannot run image "${container.image}"`, error);
      });
      this.#currentId = id;
      const about = { container: container.name };
      onEvent({ type: 'Normal', reason: 'Created', message: 'Container created', ...about });
      // The log of the attempt before stays; only its root goes.
      if (previousId !== undefined) await containers.remove(previousId);
      if (this.#isToEnd()) return undefined;
      await containers.start(id);
      this.#isRunning = true;
      const ended = containers.wait(id, {});
      this.#options.onAttempt(
        attempt,
        ended.catch(() => undefined),
      );
      await onState(
        { type: 'running', startedAtMs: Date.now() },
        { containerId: id, restartCount: attempt },
      );
      onEvent({ type: 'Normal', reason: 'Started', message: 'Container started', ...about });
      // A stop that came while the container was being started found nothing to stop.
      if (this.#isToEnd()) await containers.stop(id, { timeoutMs: this.#graceMs });
      const exit = await ended;
      this.#isRunning = false;
      const message = this.#options.terminationMessage(attempt, exit.exitCode);
      const state = terminated(exit, message);
      await onState(state, { containerId: id, restartCount: attempt });
      onEvent({
        type: exit.exitCode === 0 ? 'Normal' : 'Warning',
        reason: 'Exited',
        message: `Container exited with code ${exit.exitCode} (${state.reason})`,
        ...about,
      });
      return exit;
    } catch (error) {
      if (this.#options.isDetached()) throw error;
      const message = describeError(error);
      const exit = {
        exitCode: START_ERROR_CODE,
        oomKilled: false,
        startedAtMs,
        finishedAtMs: Date.now(),
      };
      await onState(
        { ...terminated(exit), reason: 'StartError', message },
        {
          ...(this.#currentId === undefined ? {} : { containerId: this.#currentId }),
          restartCount: attempt,
        },
      );
      onEvent({
        type: 'Warning',
        reason: 'Failed',
        message: `Error: ${message}`,
        container: container.name,
      });
      // The first attempt tells whether the container can run at all; later ones may fail for reasons that pass.
      if (attempt === 0 || this.#isRunning) throw error;
      return exit;
    }
  }

  async #backOff(exit: PodContainerExit, attempt: number): Promise<void> {
    const delayMs = this.#backoff.next(exit.finishedAtMs - exit.startedAtMs);
    if (delayMs === 0) return;
    const { container, onState, onEvent } = this.#options;
    await onState(
      {
        type: 'waiting',
        reason: CRASH_LOOP_BACK_OFF,
        message: `back-off ${formatDuration(delayMs)} restarting failed container=${container.name}`,
      },
      {
        ...(this.#currentId === undefined ? {} : { containerId: this.#currentId }),
        restartCount: attempt,
      },
    );
    onEvent({
      type: 'Warning',
      reason: 'BackOff',
      message: `Back-off ${formatDuration(delayMs)} restarting failed container ${container.name}`,
      container: container.name,
    });
    const until = performance.now() + delayMs;
    while (!this.#isToEnd() && performance.now() < until) {
      const step = Math.min(STOP_REQUEST_POLL_MS, until - performance.now());
      // Aborted by stop; the loop looks at the signal.
      await sleep(step, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
    }
  }
}
