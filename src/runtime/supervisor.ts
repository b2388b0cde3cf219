import { closeSync } from 'node:fs';
import { FailedPreconditionError, NativeError, RuntimeError, TimedOutError } from '../errors.js';
import type { Channel, NativeBinding } from '../native.js';
import { errnoName, startError } from './start-failure.js';
import {
  decodeDescriptors,
  decodeExited,
  decodeFailed,
  decodeStarted,
  decodeStatus,
  decodeWelcome,
  type Exited,
  type Started,
  type SupervisorStatus,
  type Welcome,
} from './supervisor-answers.js';
import { SupervisorGoneError, SupervisorRefusedError } from './supervisor-errors.js';
import {
  type AttachMessage,
  type DescriptorName,
  encodeAttach,
  encodeGiveDescriptors,
  encodeHello,
  encodeId,
  encodeKeep,
  encodeLaunchSpec,
  encodeResize,
  encodeShutdown,
  encodeStop,
  FrameType,
  type LaunchSpec,
  PROTOCOL_VERSION,
} from './supervisor-protocol.js';

/** Time for an answer that needs no waiting inside the supervisor. A stalled disk may hold its one thread for a while. */
const ANSWER_TIMEOUT_MS = 30_000;
/** Mounts in one frame: few enough for a supervisor that may open few files. */
const KEEP_BATCH = 64;

export interface ConnectOptions {
  readonly native: Pick<NativeBinding, 'Channel'>;
  readonly socketPath: string;
  /** `take`: become the owner or fail; `observe`: never. */
  readonly ownership: 'take' | 'observe';
  /** Changes what the supervisor does when its owner goes; only with `take`. */
  readonly onOwnerExit?: 'keep' | 'kill';
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface RequestOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

interface Pending {
  readonly name: string;
  resolve(frame: { type: number; payload: Buffer; fds: number[] }): void;
  reject(error: Error): void;
}

/**
 * A connection to the supervisor of one sandbox. Requests are answered by id, in any order; exits are told to every listener. When the
 * connection ends, every open request is rejected with {@link SupervisorGoneError} and `onClose` listeners are called once.
 *
 * A supervisor of another version answers STATUS, STOP, GIVE_DESCRIPTORS; everything else is refused here with `FAILED_PRECONDITION`
 * (see {@link SupervisorClient.isCurrent}).
 */
export class SupervisorClient {
  readonly #pending = new Map<number, Pending>();
  readonly #exitListeners = new Set<(exited: Exited) => void>();
  readonly #closeListeners = new Set<() => void>();
  #channel: Channel | undefined;
  #nextRequestId = 1;
  #welcome: Welcome | undefined;
  #owner = false;

  private constructor() {}

  /**
   * Connects and says HELLO.
   * @throws SupervisorGoneError when nobody listens there.
   * @throws FailedPreconditionError when another process owns the sandbox and `ownership` is `take`.
   */
  static async connect(options: ConnectOptions): Promise<SupervisorClient> {
    const client = new SupervisorClient();
    try {
      client.#channel = new options.native.Channel({
        path: options.socketPath,
        onFrame: (type, requestId, payload, fds) => client.#receive(type, requestId, payload, fds),
        onClose: (error) => client.#closed(error),
      });
    } catch (cause) {
      if (cause instanceof NativeError) {
        throw new SupervisorGoneError(`Cannot reach the supervisor at "${options.socketPath}"`, {
          cause,
        });
      }
      throw cause;
    }
    try {
      await client.#hello(options);
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  get welcome(): Welcome {
    if (this.#welcome === undefined) throw new Error('Not connected');
    return this.#welcome;
  }

  /** Whether this connection owns the sandbox: closing it triggers `onOwnerExit`. */
  get isOwner(): boolean {
    return this.#owner;
  }

  /** Whether the supervisor speaks our version. */
  get isCurrent(): boolean {
    return this.welcome.version === PROTOCOL_VERSION;
  }

  get isClosed(): boolean {
    return this.#channel === undefined;
  }

  /** Called for every exit from now on; returns the function that ends it. */
  onExit(listener: (exited: Exited) => void): () => void {
    this.#exitListeners.add(listener);
    return () => this.#exitListeners.delete(listener);
  }

  /** Called once when the connection ends without {@link close}; at once when it already has. */
  onClose(listener: () => void): () => void {
    if (this.isClosed) queueMicrotask(listener);
    else this.#closeListeners.add(listener);
    return () => this.#closeListeners.delete(listener);
  }

  /** Becomes the owner of an ownerless sandbox. @throws FailedPreconditionError when it has one. */
  async takeOwnership(
    options: RequestOptions & { onOwnerExit?: 'keep' | 'kill' } = {},
  ): Promise<void> {
    const { onOwnerExit } = options;
    const payload = encodeHello({
      owner: true,
      ...(onOwnerExit === undefined ? {} : { onOwnerExit }),
    });
    const frame = await this.#request(FrameType.HELLO, payload, { name: 'HELLO', ...options });
    this.#acceptWelcome(frame, 'HELLO');
    this.#owner = true;
  }

  async status(options: RequestOptions = {}): Promise<SupervisorStatus> {
    const frame = await this.#request(FrameType.STATUS, new Uint8Array(), {
      name: 'STATUS',
      ...options,
    });
    this.#expect(frame, FrameType.STATUS_ANSWER, 'STATUS');
    return decodeStatus(frame.payload);
  }

  /**
   * Sends `signal` to a container, or to all; 9 kills its whole cgroup. Returns when sent; the exit is told to the listeners.
   * @throws SupervisorRefusedError when it has already ended or is unknown.
   */
  async stop(target: { id?: string; signal: number }, options: RequestOptions = {}): Promise<void> {
    const frame = await this.#request(FrameType.STOP, encodeStop(target), {
      name: 'STOP',
      ...options,
    });
    this.#expect(frame, FrameType.OK, 'STOP');
  }

  /**
   * Starts a container, exec or pause process; `what` names it in errors. Descriptors are duplicated at the call.
   * @throws StartError saying which step failed and why.
   */
  async start(
    spec: LaunchSpec,
    options: RequestOptions & { readonly what: string; readonly fds: readonly number[] },
  ): Promise<Started> {
    this.#requireCurrent('START');
    const frame = await this.#request(FrameType.START, encodeLaunchSpec(spec), {
      ...options,
      name: 'START',
    });
    if (frame.type === FrameType.FAILED)
      throw startError(options.what, decodeFailed(frame.payload));
    this.#expect(frame, FrameType.STARTED, 'START');
    return decodeStarted(frame.payload);
  }

  async reopenLog(id: string, options: RequestOptions = {}): Promise<void> {
    await this.#command(FrameType.REOPEN_LOG, encodeId(id), { name: 'REOPEN_LOG', ...options });
  }

  async resize(
    size: { readonly id: string; readonly rows: number; readonly columns: number },
    options: RequestOptions = {},
  ): Promise<void> {
    await this.#command(FrameType.RESIZE, encodeResize(size), { name: 'RESIZE', ...options });
  }

  /**
   * Connects a stream socket to a running container: PROTOCOL.md says what travels on it. The descriptor is duplicated at the call.
   * @throws SupervisorRefusedError `ESRCH` when it does not run, `EPIPE` for the stdin of one that has none.
   */
  async attach(
    wanted: AttachMessage,
    options: RequestOptions & { readonly socketFd: number },
  ): Promise<void> {
    const { socketFd, ...request } = options;
    const payload = encodeAttach(wanted);
    await this.#command(FrameType.ATTACH, payload, { name: 'ATTACH', ...request, fds: [socketFd] });
  }

  /** Drops the supervisor's record of an exited container. */
  async forget(id: string, options: RequestOptions = {}): Promise<void> {
    await this.#command(FrameType.FORGET, encodeId(id), { name: 'FORGET', ...options });
  }

  /**
   * Leaves mounts with the supervisor that another engine may want. Descriptors are duplicated at the call.
   * @throws SupervisorRefusedError `EMFILE` when it has as many as it may.
   */
  async keep(
    mounts: readonly { readonly key: string; readonly fd: number }[],
    options: RequestOptions = {},
  ): Promise<void> {
    for (let first = 0; first < mounts.length; first += KEEP_BATCH) {
      const batch = mounts.slice(first, first + KEEP_BATCH);
      await this.#command(FrameType.KEEP, encodeKeep(batch.map(({ key }) => key)), {
        name: 'KEEP',
        ...options,
        fds: batch.map(({ fd }) => fd),
      });
    }
  }

  /** The mount kept under `key`, if there is one; the descriptor is the caller's. */
  async keptMount(key: string, options: RequestOptions = {}): Promise<number | undefined> {
    const { fds } = await this.descriptors({ what: ['layers'], keys: [key] }, options);
    for (const other of fds.slice(1)) closeSync(other);
    return fds[0];
  }

  /** Descriptors of the sandbox, in the order asked; they are the caller's. `keys` names the kept mounts among them. */
  async descriptors(
    wanted: { readonly what: readonly DescriptorName[]; readonly keys?: readonly string[] },
    options: RequestOptions = {},
  ): Promise<{ readonly fds: readonly number[]; readonly keys: readonly string[] }> {
    const name = 'GIVE_DESCRIPTORS';
    const payload = encodeGiveDescriptors(wanted);
    const frame = await this.#request(FrameType.GIVE_DESCRIPTORS, payload, { name, ...options });
    try {
      this.#expect(frame, FrameType.DESCRIPTORS, name);
      return { fds: frame.fds, ...decodeDescriptors(frame.payload) };
    } catch (error) {
      for (const fd of frame.fds) closeSync(fd);
      throw error;
    }
  }

  /**
   * Ends every container (stop signal, SIGKILL after `graceMs`) and then the supervisor. Returns when all have been recorded.
   * @throws TimedOutError some seconds after the grace period: the caller kills by cgroup then.
   */
  async shutdown(graceMs: number, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await this.#command(FrameType.SHUTDOWN, encodeShutdown(graceMs), {
      name: 'SHUTDOWN',
      timeoutMs: graceMs + 10_000,
      ...options,
    });
  }

  /** Ends the connection; listeners of `onClose` are not called. Idempotent. */
  close(): void {
    this.#closeListeners.clear();
    const channel = this.#channel;
    this.#closed(null);
    channel?.close();
  }

  async #hello(options: ConnectOptions): Promise<void> {
    const owner = options.ownership === 'take';
    const payload = encodeHello({
      owner,
      ...(owner && options.onOwnerExit !== undefined ? { onOwnerExit: options.onOwnerExit } : {}),
    });
    const frame = await this.#request(FrameType.HELLO, payload, { ...options, name: 'HELLO' });
    this.#acceptWelcome(frame, 'HELLO');
    this.#owner = owner;
  }

  #acceptWelcome(frame: { type: number; payload: Buffer }, name: string): void {
    if (frame.type === FrameType.FAILED) {
      const failed = decodeFailed(frame.payload);
      if (errnoName(failed.errno) === 'EBUSY') {
        throw new FailedPreconditionError('Another process owns the sandbox');
      }
    }
    this.#expect(frame, FrameType.WELCOME, name);
    this.#welcome = decodeWelcome(frame.payload);
  }

  async #command(
    type: number,
    payload: Uint8Array,
    options: RequestOptions & { readonly name: string; readonly fds?: readonly number[] },
  ): Promise<void> {
    this.#requireCurrent(options.name);
    this.#expect(await this.#request(type, payload, options), FrameType.OK, options.name);
  }

  #requireCurrent(request: string): void {
    if (this.isCurrent) return;
    throw new FailedPreconditionError(
      `The supervisor of sandbox "${this.welcome.sandboxId}" speaks protocol version ${this.welcome.version}, not ${PROTOCOL_VERSION}: it can be watched and stopped, but ${request} is not possible`,
    );
  }

  #expect(frame: { type: number; payload: Buffer }, type: number, request: string): void {
    if (frame.type === type) return;
    if (frame.type === FrameType.FAILED) {
      throw new SupervisorRefusedError(request, decodeFailed(frame.payload));
    }
    throw new RuntimeError('PROTOCOL', `Unexpected answer of type ${frame.type} to ${request}`);
  }

  async #request(
    type: number,
    payload: Uint8Array,
    options: RequestOptions & { readonly name: string; readonly fds?: readonly number[] },
  ): Promise<{ type: number; payload: Buffer; fds: number[] }> {
    const { name, signal, timeoutMs = ANSWER_TIMEOUT_MS } = options;
    signal?.throwIfAborted();
    const channel = this.#channel;
    if (channel === undefined) throw new SupervisorGoneError(`The supervisor is gone (${name})`);
    const requestId = this.#nextRequestId;
    this.#nextRequestId = (this.#nextRequestId % 0x7fff_ffff) + 1;
    let timer: NodeJS.Timeout | undefined;
    let onAbort: (() => void) | undefined;
    try {
      return await new Promise((resolve, reject) => {
        this.#pending.set(requestId, { name, resolve, reject });
        timer = setTimeout(
          () =>
            reject(new TimedOutError(`The supervisor did not answer ${name} in ${timeoutMs} ms`)),
          timeoutMs,
        );
        onAbort = () => reject(signal?.reason as Error);
        signal?.addEventListener('abort', onAbort, { once: true });
        channel.send(type, requestId, payload, options.fds ?? []);
      });
    } finally {
      clearTimeout(timer);
      if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort);
      this.#pending.delete(requestId);
    }
  }

  #receive(type: number, requestId: number, payload: Buffer, fds: number[]): void {
    if (type === FrameType.EXITED) {
      let exited: Exited;
      try {
        exited = decodeExited(payload);
      } catch {
        // Both sides no longer agree on what the bytes mean: a dead connection is the only safe reading.
        const channel = this.#channel;
        this.#closed(null);
        channel?.close();
        return;
      }
      for (const listener of [...this.#exitListeners]) listener(exited);
      return;
    }
    const pending = this.#pending.get(requestId);
    if (pending !== undefined) pending.resolve({ type, payload, fds });
    // The answer to a request that timed out or was aborted: nobody else would close its descriptors.
    else for (const fd of fds) closeSync(fd);
  }

  #closed(error: NativeError | null): void {
    if (this.#channel === undefined) return;
    this.#channel = undefined;
    this.#owner = false;
    for (const { name, reject } of [...this.#pending.values()]) {
      reject(
        new SupervisorGoneError(`The supervisor went away during ${name}`, {
          cause: error ?? undefined,
        }),
      );
    }
    for (const listener of [...this.#closeListeners]) listener();
    this.#closeListeners.clear();
  }
}
