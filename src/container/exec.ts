import { closeSync, openSync } from 'node:fs';
import { TimedOutError } from '../errors.js';
import type { Exited } from '../runtime/supervisor-answers.js';
import { ExecExit } from './exec-exit.js';
import { type ExecParts, type PreparedExec, prepareExec, startExec } from './exec-launch.js';
import { OutputPipe } from './output-pipe.js';

/** How long output may come after the process has ended: a child of it may have kept the pipe. */
const DRAIN_TIMEOUT_MS = 2_000;
/** Time for a killed process to be reported; one that is stuck in the kernel is not waited for. */
const KILL_REPORT_TIMEOUT_MS = 5_000;
/** More is no time to a timer. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

export interface ExecOptions {
  readonly command: readonly string[];
  /** Counted from the start of the process. Absent: no limit. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface ExecResult {
  /** 128 + signal when killed. */
  readonly exitCode: number;
  /** At most 16 MiB each. */
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

/**
 * Runs a command in a running container, with its user, environment, limits and filters, and collects what it prints.
 * @throws StartError when it cannot be started (`exitCode` 126 or 127 where a shell would say so), TimedOutError when it was killed after
 *   `timeoutMs` with all its descendants, FailedPreconditionError when the container does not run, the signal's reason after killing it.
 */
export async function execCommand(
  parts: ExecParts,
  containerId: string,
  options: ExecOptions,
): Promise<ExecResult> {
  const { command, timeoutMs, signal } = options;
  signal?.throwIfAborted();
  const exec = await prepareExec(parts, containerId, { command, terminal: false });
  const exit = new ExecExit(exec.client, exec.id);
  const outputs: OutputPipe[] = [];
  let stdin: number | undefined;
  try {
    stdin = openSync('/dev/null', 'r');
    const stdout = new OutputPipe(parts.native);
    outputs.push(stdout);
    const stderr = new OutputPipe(parts.native);
    outputs.push(stderr);
    await startExec(exec, {
      // Only a time limit is worth a cgroup: without one nothing but the caller's own end kills it.
      changes: { stdioFds: true, ownCgroup: timeoutMs !== undefined },
      fds: [stdin, stdout.writeFd, stderr.writeFd],
    });
    const startedAt = performance.now();
    stdout.closeWriteEnd();
    stderr.closeWriteEnd();
    const exited = await waitOrKill(exec, { exit, options });
    const left = (timeoutMs ?? DRAIN_TIMEOUT_MS) - (performance.now() - startedAt);
    const patienceMs = Math.max(0, Math.min(DRAIN_TIMEOUT_MS, left));
    const [out, error] = await Promise.all([stdout.rest(patienceMs), stderr.rest(patienceMs)]);
    return { exitCode: exited.exitCode, stdout: out, stderr: error };
  } finally {
    exit.close();
    if (stdin !== undefined) closeSync(stdin);
    for (const output of outputs) output.close();
  }
}

async function waitOrKill(
  exec: PreparedExec,
  { exit, options }: { exit: ExecExit; options: ExecOptions },
): Promise<Exited> {
  const { timeoutMs, signal } = options;
  const limit = new TimeLimit(timeoutMs, signal);
  try {
    const first = await Promise.race([exit.promise, limit.reached]);
    if (first !== 'reached') return first;
  } finally {
    limit.clear();
  }
  await killExec(exec, exit);
  signal?.throwIfAborted();
  throw new TimedOutError(`The ${exec.what} did not end in ${timeoutMs} ms and was killed`);
}

/** Ends a process and what it started; returns when that has been reported, or can no longer be expected. */
async function killExec({ client, id }: PreparedExec, exit: ExecExit): Promise<void> {
  // It may have ended just now; then there is nothing to kill.
  await client.stop({ id, signal: 9 }).catch(() => undefined);
  const report = new TimeLimit(KILL_REPORT_TIMEOUT_MS, undefined);
  await Promise.race([exit.promise.catch(() => undefined), report.reached]);
  report.clear();
}

/** Time, or a signal, whichever comes first; neither keeps anything in memory once cleared. */
class TimeLimit {
  readonly reached: Promise<'reached'>;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #signal: AbortSignal | undefined;
  #onAbort: () => void = () => undefined;

  constructor(timeoutMs: number | undefined, signal: AbortSignal | undefined) {
    this.#signal = signal;
    this.reached = new Promise((resolve) => {
      this.#onAbort = () => resolve('reached');
    });
    if (timeoutMs !== undefined) {
      this.#timer = setTimeout(this.#onAbort, Math.min(timeoutMs, LONGEST_TIMEOUT_MS));
    }
    if (signal?.aborted === true) this.#onAbort();
    else signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }
}
