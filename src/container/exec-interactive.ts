import { closeSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { NativeBinding } from '../native.js';
import type { ProcessStreams } from '../process-streams.js';
import type { Exited } from '../runtime/supervisor-answers.js';
import { endStreams, ignoreErrors, OutputCopy } from './client-streams.js';
import { ExecExit } from './exec-exit.js';
import { type ExecParts, type PreparedExec, prepareExec, startExec } from './exec-launch.js';
import { TerminalSizes } from './terminal-sizes.js';

export interface InteractiveExecOptions {
  readonly command: readonly string[];
  /** A terminal of the container's own devpts: its output is all on `streams.stdout`, sizes count. */
  readonly terminal: boolean;
  /** All of them are ended or destroyed when the promise settles, however it does. */
  readonly streams: ProcessStreams;
}

/**
 * Runs a command in a running container with the streams of a client. Either side waits for the other; the end of stdin ends the process's input
 * (a terminal has no such end: its client types one). After the exit, output is waited for as long as the client takes it, but only two seconds for
 * somebody else who holds a pipe.
 *
 * When the client goes away its ends are closed, a terminal is hung up, and the promise rejects with the signal's reason; a process that neither
 * reads, writes nor heeds SIGHUP runs on.
 * @throws StartError, FailedPreconditionError when the container does not run or ends meanwhile with its supervisor.
 */
export async function execInteractive(
  parts: ExecParts,
  containerId: string,
  options: InteractiveExecOptions,
): Promise<{ readonly exitCode: number }> {
  const { command, terminal, streams } = options;
  ignoreErrors(streams);
  const gone = new ClientGone(streams.signal);
  try {
    streams.signal.throwIfAborted();
    const exec = await prepareExec(parts, containerId, { command, terminal });
    const exit = new ExecExit(exec.client, exec.id);
    try {
      const run = terminal ? runOnTerminal : runOnPipes;
      const { exitCode } = await run(parts.native, { exec, exit, streams, gone });
      return { exitCode };
    } finally {
      exit.close();
    }
  } finally {
    gone.close();
    await endStreams(streams);
  }
}

interface Session {
  readonly exec: PreparedExec;
  readonly exit: ExecExit;
  readonly streams: ProcessStreams;
  readonly gone: ClientGone;
}

/** Rejects, once, when the client goes. */
class ClientGone {
  readonly promise: Promise<never>;
  readonly #signal: AbortSignal;
  #onAbort: () => void = () => undefined;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    this.promise = new Promise((_resolve, reject) => {
      this.#onAbort = () => reject(signal.reason as Error);
    });
    this.promise.catch(() => undefined);
    signal.addEventListener('abort', this.#onAbort, { once: true });
    if (signal.aborted) this.#onAbort();
  }

  close(): void {
    this.#signal.removeEventListener('abort', this.#onAbort);
  }
}

async function runOnPipes(
  native: Pick<NativeBinding, 'createPipe'>,
  { exec, exit, streams, gone }: Session,
): Promise<Exited> {
  // Ends of the process, which are ours only until it has them.
  const theirs: number[] = [];
  const closers: (() => void)[] = [];
  const outputs: OutputCopy[] = [];
  try {
    const stdin = streams.stdin === undefined ? undefined : native.createPipe();
    if (stdin !== undefined && streams.stdin !== undefined) {
      theirs.push(stdin.readFd);
      const input = new Socket({ fd: stdin.writeFd, readable: false, writable: true });
      closers.push(() => input.destroy());
      copyInput(streams.stdin, input);
    } else {
      theirs.push(openSync('/dev/null', 'r'));
    }
    for (const target of [streams.stdout, streams.stderr]) {
      if (target === undefined) {
        theirs.push(openSync('/dev/null', 'w'));
        continue;
      }
      const { readFd, writeFd } = native.createPipe();
      theirs.push(writeFd);
      const copy = new OutputCopy(
        new Socket({ fd: readFd, readable: true, writable: false }),
        target,
      );
      outputs.push(copy);
      closers.push(() => copy.close());
    }
    await startExec(exec, { changes: { stdioFds: true }, fds: theirs });
    for (const fd of theirs.splice(0)) closeSync(fd);
    const exited = await Promise.race([exit.promise, gone.promise]);
    await Promise.race([Promise.all(outputs.map((output) => output.rest())), gone.promise]);
    return exited;
  } finally {
    for (const fd of theirs) closeSync(fd);
    for (const close of closers) close();
  }
}

async function runOnTerminal(
  native: Pick<NativeBinding, 'createSocketPair'>,
  { exec, exit, streams, gone }: Session,
): Promise<Exited> {
  const { client, id } = exec;
  const sizes = new TerminalSizes(streams.sizes);
  const windowSize = await sizes.first();
  const { fd, peerFd } = native.createSocketPair();
  const socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
  const target = streams.stdout;
  const output = target === undefined ? undefined : new OutputCopy(socket, target);
  if (output === undefined) socket.on('error', () => socket.destroy()).resume();
  // The supervisor closes its end once everything has been sent.
  socket.once('end', () => socket.destroy());
  try {
    try {
      await startExec(exec, {
        changes: {
          terminalClient: true,
          ...(windowSize === undefined ? {} : { windowSize }),
        },
        fds: [peerFd],
      });
    } finally {
      closeSync(peerFd);
    }
    streams.stdin?.pipe(socket, { end: false });
    sizes.follow((size) => client.resize({ id, ...size }));
    const exited = await Promise.race([exit.promise, gone.promise]);
    if (output !== undefined) await Promise.race([output.rest(), gone.promise]);
    return exited;
  } finally {
    sizes.stop();
    streams.stdin?.unpipe(socket);
    output?.close();
    socket.destroy();
  }
}

/** The client's input into a pipe; its end, and the client's own end, close the pipe. */
function copyInput(stdin: Readable, input: Socket): void {
  input.on('error', () => input.destroy());
  // A process that does not want its input must not stop the client's other streams.
  input.once('close', () => {
    stdin.unpipe(input);
    stdin.resume();
  });
  stdin.once('close', () => input.end());
  stdin.pipe(input);
}
