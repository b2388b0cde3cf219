import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { FailedPreconditionError, RuntimeError } from '../errors.js';
import type { ProcessStreams } from '../process-streams.js';
import { SupervisorGoneError, SupervisorRefusedError } from '../runtime/supervisor-errors.js';
import { AttachChunkReader } from './attach-chunks.js';
import { endStreams, ignoreErrors } from './client-streams.js';
import type { ContainerParts } from './container-parts.js';
import { requireRunning } from './exec-launch.js';
import type { ContainerRecord } from './state.js';
import { TerminalSizes } from './terminal-sizes.js';

export type AttachParts = Pick<ContainerParts, 'containers' | 'native' | 'sandboxes'>;

/** An attached client did not read fast enough and was cut off, since a container never waits for its clients (`SLOW_CLIENT`). */
export class SlowClientError extends RuntimeError {
  constructor(container: string) {
    super(
      'SLOW_CLIENT',
      `Detached from container "${container}": the client fell more than 1 MiB behind its output; the log has all of it`,
    );
  }
}

/**
 * Connects a client to a running container: output from now on, input if the container has stdin. Settles when the container has ended, or the client
 * has detached by ending its input; the container runs on then. With `stdinOnce` and no terminal the end of the input is the end of the container's, and the
 * session goes on. All streams are ended or destroyed when the promise settles, however it does.
 * @throws FailedPreconditionError when it does not run, SlowClientError, SupervisorGoneError, the signal's reason when the client goes away.
 */
export async function attachContainer(
  parts: AttachParts,
  id: string,
  streams: ProcessStreams,
): Promise<void> {
  ignoreErrors(streams);
  const sizes = new TerminalSizes(streams.sizes);
  try {
    streams.signal.throwIfAborted();
    const record = requireRunning(parts, id, 'attach to');
    const { terminal } = record.config;
    const client = await parts.sandboxes.client(record.sandboxId);
    const { fd, peerFd } = parts.native.createSocketPair();
    const socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
    const session = new AttachSession(record, socket, streams);
    try {
      try {
        await client.attach(
          {
            id,
            stdin: session.hasInput,
            stdout: streams.stdout !== undefined,
            stderr: streams.stderr !== undefined && !terminal,
          },
          { socketFd: peerFd, signal: streams.signal },
        );
      } finally {
        closeSync(peerFd);
      }
      if (terminal) sizes.follow((size) => client.resize({ id, ...size }));
      await session.run();
    } finally {
      session.close();
    }
  } catch (error) {
    if (error instanceof SupervisorRefusedError && error.errnoCode === 'ESRCH') {
      throw new FailedPreconditionError(`Cannot attach to container "${id}": it has ended`, {
        cause: error,
      });
    }
    throw error;
  } finally {
    sizes.stop();
    await endStreams(streams);
  }
}

/** One client and the socket that connects it with the supervisor. */
class AttachSession {
  readonly #record: ContainerRecord;
  readonly #socket: Socket;
  readonly #streams: ProcessStreams;
  readonly #reader = new AttachChunkReader();
  readonly #done: Promise<void>;
  #settle: () => void = () => undefined;
  #fail: (error: unknown) => void = () => undefined;
  readonly #onAbort = () => this.#fail(this.#streams.signal.reason);
  readonly #resume = () => {
    if (![this.#streams.stdout, this.#streams.stderr].some((target) => target?.writableNeedDrain)) {
      this.#socket.resume();
    }
  };

  constructor(record: ContainerRecord, socket: Socket, streams: ProcessStreams) {
    this.#record = record;
    this.#socket = socket;
    this.#streams = streams;
    this.#done = new Promise((resolve, reject) => {
      this.#settle = resolve;
      this.#fail = reject;
    });
    this.#done.catch(() => undefined);
    // Before it is connected: a socket that fails later must have somebody to tell.
    socket.on('error', () => socket.destroy());
  }

  /** Whether what the client types goes anywhere. */
  get hasInput(): boolean {
    return this.#streams.stdin !== undefined && this.#record.config.stdin;
  }

  run(): Promise<void> {
    const { stdin, stdout, stderr, signal } = this.#streams;
    signal.addEventListener('abort', this.#onAbort, { once: true });
    if (signal.aborted) this.#onAbort();
    for (const target of [stdout, stderr]) target?.on('drain', this.#resume);
    this.#socket.on('data', (bytes: Buffer) => this.#receive(bytes));
    this.#socket.once('close', () =>
      this.#fail(
        new SupervisorGoneError(
          `The supervisor went away while container "${this.#record.config.name}" was attached to`,
        ),
      ),
    );
    this.#socket.once('end', () => this.#socket.destroy());
    if (stdin !== undefined) this.#takeInput(stdin);
    return this.#done;
  }

  close(): void {
    const { stdin, stdout, stderr, signal } = this.#streams;
    signal.removeEventListener('abort', this.#onAbort);
    for (const target of [stdout, stderr]) target?.removeListener('drain', this.#resume);
    stdin?.unpipe(this.#socket);
    this.#socket.removeAllListeners('data').destroy();
  }

  #takeInput(stdin: Readable): void {
    if (!this.hasInput) {
      // Nobody reads it, and a client must not be stuck with it.
      stdin.resume();
      return;
    }
    const { stdinOnce, terminal } = this.#record.config;
    const end = () => {
      // The supervisor reads what was written before the end, also of a socket that is closed right after.
      this.#socket.end(() => {
        if (!stdinOnce || terminal) this.#settle();
      });
    };
    if (stdin.readableEnded) {
      end();
      return;
    }
    stdin.pipe(this.#socket, { end: false });
    stdin.once('end', end);
  }

  #receive(bytes: Buffer): void {
    try {
      for (const { stream, bytes: content } of this.#reader.read(bytes)) {
        if (stream === 'end') this.#ended(content.toString('latin1'));
        else this.#deliver(this.#streams[stream], content);
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #deliver(target: Writable | undefined, content: Buffer): void {
    if (target === undefined || target.destroyed || target.writableEnded) return;
    if (!target.write(content)) this.#socket.pause();
  }

  #ended(reason: string): void {
    if (reason === '') this.#settle();
    else this.#fail(new SlowClientError(this.#record.config.name));
  }
}
