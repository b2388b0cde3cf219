import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import type { ProcessStreams, TerminalSize } from '../../src/process-streams.js';
import type {
  AttachRequest,
  ExecRequest,
  PortForwardRequest,
  StreamingBackend,
} from '../../src/stream/streaming-backend.js';

/** A backend of real processes of this machine and of its own loopback, instead of containers. */
export class ProcessBackend implements StreamingBackend {
  readonly children = new Set<ChildProcess>();
  readonly sockets = new Set<Socket>();
  readonly execs: ExecRequest[] = [];
  readonly attaches: AttachRequest[] = [];
  readonly forwards: PortForwardRequest[] = [];
  /** Sizes in the order in which they came. */
  readonly sizes: TerminalSize[] = [];
  lost = 0;
  /** Instead of running a process. */
  onExec: ((streams: ProcessStreams) => Promise<{ exitCode: number }>) | undefined;
  onAttach: ((streams: ProcessStreams) => Promise<void>) | undefined;

  async exec(request: ExecRequest, streams: ProcessStreams): Promise<{ exitCode: number }> {
    this.execs.push(request);
    streams.signal.addEventListener('abort', () => {
      this.lost++;
    });
    void this.#readSizes(streams);
    if (this.onExec !== undefined) return await this.onExec(streams);
    const [program = '', ...args] = request.command;
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.children.add(child);
    const exit = once(child, 'close');
    child.on('error', () => undefined);
    if (streams.stdin) void pipeline(streams.stdin, child.stdin).catch(() => undefined);
    else child.stdin.end();
    const outputs = [
      streams.stdout
        ? pipeline(child.stdout, streams.stdout).catch(() => undefined)
        : child.stdout.resume(),
      streams.stderr
        ? pipeline(child.stderr, streams.stderr).catch(() => undefined)
        : child.stderr.resume(),
    ];
    const [code, signal] = (await exit) as [number | null, NodeJS.Signals | null];
    this.children.delete(child);
    await Promise.all(outputs);
    return { exitCode: code ?? (signal === 'SIGKILL' ? 137 : 143) };
  }

  async attach(request: AttachRequest, streams: ProcessStreams): Promise<void> {
    this.attaches.push(request);
    streams.signal.addEventListener('abort', () => {
      this.lost++;
    });
    void this.#readSizes(streams);
    if (this.onAttach !== undefined) return await this.onAttach(streams);
    const { stdin, stdout } = streams;
    if (stdin === undefined || stdout === undefined) return;
    stdin.pipe(stdout);
    await finished(stdout).catch(() => undefined);
  }

  async connect(request: PortForwardRequest, signal: AbortSignal): Promise<Duplex> {
    this.forwards.push(request);
    const socket = connect({ host: '127.0.0.1', port: request.port, allowHalfOpen: true });
    this.sockets.add(socket);
    socket.once('close', () => this.sockets.delete(socket));
    const abort = () => socket.destroy(new Error('aborted'));
    signal.addEventListener('abort', abort, { once: true });
    try {
      await once(socket, 'connect');
    } finally {
      signal.removeEventListener('abort', abort);
    }
    return socket;
  }

  async #readSizes({ sizes }: ProcessStreams): Promise<void> {
    for await (const size of sizes ?? []) this.sizes.push(size);
  }

  /** Kills what still runs. */
  close(): void {
    for (const child of this.children) child.kill('SIGKILL');
    for (const socket of this.sockets) socket.destroy();
  }
}
