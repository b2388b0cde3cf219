import { randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import {
  FailedPreconditionError,
  InvalidArgumentError,
  NotFoundError,
  TimedOutError,
} from '../errors.js';
import type { NativeBinding } from '../native.js';
import { lowerToLaunchSpec } from '../runtime/launch-spec.js';
import { usesSeccomp } from '../runtime/security.js';
import type { SupervisorClient } from '../runtime/supervisor.js';
import type { Exited } from '../runtime/supervisor-answers.js';
import type { ContainerParts } from './container-parts.js';
import type { ContainerRecord } from './state.js';

/** What a stream keeps; the rest is read and dropped, so that the program is not held up (CVE-2022-31030). */
const OUTPUT_MAX_BYTES = 16 * 2 ** 20;
/** How long output may come after the process has ended: a child of it may have kept the pipe. */
const DRAIN_TIMEOUT_MS = 2_000;

export interface ExecOptions {
  readonly command: readonly string[];
  /** Absent: no limit. */
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

export type ExecParts = Pick<ContainerParts, 'containers' | 'native' | 'sandboxes' | 'seccomp'>;

/**
 * Runs a command in a running container, with its user, environment, limits and filters, and collects what it prints.
 * @throws StartError when it cannot be started, TimedOutError when it was killed after `timeoutMs`,
 *   FailedPreconditionError when the container does not run.
 */
export async function execCommand(
  parts: ExecParts,
  containerId: string,
  options: ExecOptions,
): Promise<ExecResult> {
  options.signal?.throwIfAborted();
  const record = parts.containers.get(containerId);
  if (record === undefined) throw new NotFoundError(`Container "${containerId}" does not exist`);
  if (record.state !== 'running') {
    throw new FailedPreconditionError(
      `Cannot run a command in container "${record.config.name}": it is ${record.state}`,
    );
  }
  if (options.command.length === 0 || options.command[0] === '') {
    throw new InvalidArgumentError('no command specified');
  }
  const client = await parts.sandboxes.client(record.sandboxId);
  const id = `${containerId}-${randomBytes(4).toString('hex')}`;
  const launch = await execLaunch(parts, { record, id, command: options.command });
  const stdout = new OutputPipe(parts.native);
  const stderr = new OutputPipe(parts.native);
  const stdin = openSync('/dev/null', 'r');
  // Listening before the start: the process may end before STARTED is read.
  const exit = new ExitOf(client, id);
  try {
    await client.start(launch, {
      what: `command ${JSON.stringify(options.command[0])} in container "${record.config.name}"`,
      fds: [stdin, stdout.writeFd, stderr.writeFd],
    });
    stdout.closeWriteEnd();
    stderr.closeWriteEnd();
    const exited = await waitOrKill(client, { id, exit, options });
    const [out, error] = await Promise.all([stdout.rest(), stderr.rest()]);
    return { exitCode: exited.exitCode, stdout: out, stderr: error };
  } finally {
    exit.close();
    closeSync(stdin);
    stdout.close();
    stderr.close();
    // Its record is of no use to anybody; a supervisor that is gone has none.
    if (!client.isClosed) await client.forget(id).catch(() => undefined);
  }
}

async function execLaunch(
  parts: ExecParts,
  { record, id, command }: { record: ContainerRecord; id: string; command: readonly string[] },
) {
  const { spec, config } = record;
  if (spec === undefined) throw new FailedPreconditionError('The container was never finished');
  const seccomp = usesSeccomp(config.security)
    ? await parts.seccomp.filter(
        config.security.seccomp === 'unconfined' ? 'default' : config.security.seccomp,
        spec.process.capabilities.bounding,
      )
    : undefined;
  const launch = lowerToLaunchSpec(spec, {
    id,
    cgroups: [],
    stdin: 'null',
    files: [],
    stopSignal: record.stopSignal,
    ...(seccomp === undefined ? {} : { seccomp }),
  });
  const { rootFd: _root, pidNamespace: _pid, ...process } = launch;
  return {
    ...process,
    kind: 'exec' as const,
    arguments: command,
    terminal: false,
    stdioFds: true,
    execTarget: record.id,
    // The root is already as it should be.
    mounts: [],
    devices: [],
    maskedPaths: [],
    readonlyPaths: [],
    rootReadonly: false,
  };
}

async function waitOrKill(
  client: SupervisorClient,
  { id, exit, options }: { id: string; exit: ExitOf; options: ExecOptions },
): Promise<Exited> {
  const { timeoutMs, signal } = options;
  const limits = [
    ...(timeoutMs === undefined ? [] : [AbortSignal.timeout(timeoutMs)]),
    ...(signal === undefined ? [] : [signal]),
  ];
  if (limits.length === 0) return exit.promise;
  const limit = AbortSignal.any(limits);
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<'aborted'>((resolve) => {
    onAbort = () => resolve('aborted');
    limit.addEventListener('abort', onAbort, { once: true });
    if (limit.aborted) resolve('aborted');
  });
  try {
    const first = await Promise.race([exit.promise, aborted]);
    if (first !== 'aborted') return first;
  } finally {
    if (onAbort !== undefined) limit.removeEventListener('abort', onAbort);
  }
  // It may have ended just now; then there is nothing to kill.
  await client.stop({ id, signal: 9 }).catch(() => undefined);
  await exit.promise;
  signal?.throwIfAborted();
  throw new TimedOutError(`The command did not end in ${timeoutMs} ms and was killed`);
}

/** The end of one process, heard from the supervisor; rejects when the supervisor goes. */
class ExitOf {
  readonly promise: Promise<Exited>;
  readonly #ends: (() => void)[];

  constructor(client: SupervisorClient, id: string) {
    const { promise, resolve, reject } = deferred<Exited>();
    this.promise = promise;
    // Nobody waits when the start fails.
    promise.catch(() => undefined);
    this.#ends = [
      client.onExit((exited) => {
        if (exited.id === id) resolve(exited);
      }),
      client.onClose(() =>
        reject(new FailedPreconditionError('The supervisor went away while the command ran')),
      ),
    ];
  }

  close(): void {
    for (const end of this.#ends) end();
  }
}

/** Collects what comes out of a pipe, up to a limit. */
class OutputPipe {
  readonly #socket: Socket;
  readonly #chunks: Buffer[] = [];
  readonly #ended: Promise<void>;
  #bytes = 0;
  #writeFd: number | undefined;

  constructor(native: Pick<NativeBinding, 'createPipe'>) {
    const { readFd, writeFd } = native.createPipe();
    this.#writeFd = writeFd;
    this.#socket = new Socket({ fd: readFd, readable: true, writable: false });
    this.#ended = new Promise((resolve) => {
      this.#socket.once('close', resolve);
    });
    this.#socket.on('error', () => this.#socket.destroy());
    this.#socket.on('data', (chunk: Buffer) => {
      const room = OUTPUT_MAX_BYTES - this.#bytes;
      if (room <= 0) return;
      const kept = chunk.subarray(0, room);
      this.#bytes += kept.length;
      this.#chunks.push(kept);
    });
  }

  get writeFd(): number {
    if (this.#writeFd === undefined) throw new Error('The write end is closed');
    return this.#writeFd;
  }

  closeWriteEnd(): void {
    if (this.#writeFd !== undefined) closeSync(this.#writeFd);
    this.#writeFd = undefined;
  }

  /** Everything until the last writer has closed, or a short time has passed. */
  async rest(): Promise<Buffer> {
    const timer = setTimeout(() => this.#socket.destroy(), DRAIN_TIMEOUT_MS);
    await this.#ended;
    clearTimeout(timer);
    return Buffer.concat(this.#chunks);
  }

  close(): void {
    this.closeWriteEnd();
    this.#socket.destroy();
  }
}

function deferred<T>() {
  let resolve: (value: T) => void = () => undefined;
  let reject: (error: Error) => void = () => undefined;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}
