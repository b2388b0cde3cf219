import { FailedPreconditionError } from '../errors.js';
import type { ProcessStreams } from '../process-streams.js';
import type { ContainerResources } from '../runtime/container-config.js';
import { SupervisorRefusedError } from '../runtime/supervisor-errors.js';
import { KeyedLock } from '../sandbox/keyed-lock.js';
import { attachContainer } from './attach.js';
import type { ContainerParts } from './container-parts.js';
import { type ContainerStats, ContainerStatsReader } from './container-stats.js';
import { type ExecOptions, type ExecResult, execCommand } from './exec.js';
import { execInteractive, type InteractiveExecOptions } from './exec-interactive.js';
import { requireRunning } from './exec-launch.js';
import type { ContainerRecord } from './state.js';
import { updateContainerResources } from './update-resources.js';

/** What can be asked of a container between its start and its end: the half of the containers' service that changes no state. */
export abstract class RunningContainers {
  /** Changes of one container's record, one after the other. */
  protected readonly locks = new KeyedLock();
  readonly #parts: ContainerParts;
  readonly #stats: ContainerStatsReader;

  constructor(parts: ContainerParts) {
    this.#parts = parts;
    this.#stats = new ContainerStatsReader(parts);
  }

  /** Runs a command and collects its output; see {@link execCommand} for what it throws. */
  exec(id: string, options: ExecOptions): Promise<ExecResult> {
    return execCommand(this.#parts, id, options);
  }

  /** Runs a command with the streams of a client; see {@link execInteractive} for what it throws. */
  execInteractive(
    id: string,
    options: InteractiveExecOptions,
  ): Promise<{ readonly exitCode: number }> {
    return execInteractive(this.#parts, id, options);
  }

  /** Connects a client to the container's own process; see {@link attachContainer} for what it throws. */
  attach(id: string, streams: ProcessStreams): Promise<void> {
    return attachContainer(this.#parts, id, streams);
  }

  /**
   * Opens the log anew, after somebody has moved it away: when the promise settles the new file exists, and nothing is written to the old one any
   * more, but for the rest of a line that was being written.
   * @throws NotFoundError, FailedPreconditionError when the container does not run or keeps no log; no file is made then.
   */
  async reopenLog(id: string): Promise<void> {
    const record = requireRunning(this.#parts, id, 'reopen the log of');
    const client = await this.#parts.sandboxes.client(record.sandboxId);
    try {
      await client.reopenLog(id);
    } catch (error) {
      if (!(error instanceof SupervisorRefusedError)) throw error;
      const why =
        error.errnoCode === 'ESRCH' ? 'it has ended' : 'the supervisor cannot open the file';
      throw new FailedPreconditionError(
        `Cannot reopen the log of container "${record.config.name}": ${record.logPath === undefined ? 'it keeps none' : why}`,
        { cause: error },
      );
    }
  }

  /**
   * Changes limits of a created or running container; what is absent stays as it is. The record has the new values afterwards.
   * @throws FailedPreconditionError when it has ended, InvalidArgumentError for what cannot be a limit, NativeError when the kernel refuses: some
   *   limits may be set then, and the record keeps the old ones.
   */
  updateResources(id: string, resources: ContainerResources): Promise<ContainerRecord> {
    return this.locks.run(id, () => updateContainerResources(this.#parts, id, resources));
  }

  /** What a container uses; zeros where it does not run. @throws NotFoundError. */
  stats(id: string, options: { readonly processes?: boolean } = {}): Promise<ContainerStats> {
    return this.#stats.read(id, options);
  }
}
