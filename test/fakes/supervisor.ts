import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CgroupStats } from '../../src/cgroup-stats.js';
import { NativeError } from '../../src/errors.js';
import type {
  CgroupResources,
  Channel,
  ChannelOptions,
  SpawnedSupervisor,
  SpawnSupervisorOptions,
} from '../../src/native.js';
import { RecordReader, RecordWriter } from '../../src/runtime/record-codec.js';
import { FrameType, PROTOCOL_VERSION } from '../../src/runtime/supervisor-protocol.js';
import { NO_USAGE } from '../../src/sandbox/cgroup-usage.js';

interface FakeContainer {
  readonly id: string;
  readonly kind: number;
  state: 2 | 3;
  exitCode: number;
  signal: number;
  finishedAtNanos: bigint;
}

export interface FakeFailure {
  readonly step: string;
  readonly errno: number;
  readonly path: string;
  readonly message?: string;
}

const STARTED_AT_NANOS = 1_700_000_000_000_000_000n;

/** A supervisor as PROTOCOL.md describes it, without namespaces and processes; a `sleep` lends it a pid that can die. */
export class FakeSupervisor {
  version = PROTOCOL_VERSION;
  /** The next START fails with this. */
  failStart: FakeFailure | undefined;
  /** Containers ignore every signal but SIGKILL. */
  stubborn = false;
  /** SHUTDOWN and STOP are never answered. */
  mute = false;
  readonly requests: number[] = [];
  readonly launches: RecordReader[] = [];
  readonly containers = new Map<string, FakeContainer>();
  readonly #connections = new Set<FakeChannel>();
  #owner: FakeChannel | undefined;
  onOwnerExit: number;
  isDead = false;

  constructor(
    readonly id: string,
    readonly runDirectory: string,
    readonly process: ChildProcess,
    onOwnerExit: number,
  ) {
    this.onOwnerExit = onOwnerExit;
    mkdirSync(join(runDirectory, 'exit'), { recursive: true });
    process.once('exit', () => this.#gone());
  }

  get hasOwner(): boolean {
    return this.#owner !== undefined;
  }

  connect(channel: FakeChannel): void {
    this.#connections.add(channel);
  }

  disconnect(channel: FakeChannel): void {
    this.#connections.delete(channel);
    if (this.#owner !== channel) return;
    this.#owner = undefined;
    if (this.onOwnerExit === 1) this.die();
  }

  /** SIGKILL, as an OOM kill or a crash would end it: nothing is recorded. */
  die(): void {
    this.process.kill('SIGKILL');
  }

  /** A container ends: file first, then the event. */
  exit(id: string, exitCode: number, signal = 0): void {
    const container = this.containers.get(id);
    if (container === undefined || container.state === 3) return;
    container.state = 3;
    container.exitCode = exitCode;
    container.signal = signal;
    container.finishedAtNanos = STARTED_AT_NANOS + 1n;
    const path = join(this.runDirectory, 'exit', `${id}.json`);
    const record = {
      id,
      exitCode,
      signal,
      oomKilled: false,
      startedAtNanos: String(STARTED_AT_NANOS),
      finishedAtNanos: String(container.finishedAtNanos),
    };
    try {
      writeFileSync(`${path}.tmp`, JSON.stringify(record));
      renameSync(`${path}.tmp`, path);
    } catch {
      // A full disk costs the file, not the announcement.
      rmSync(`${path}.tmp`, { force: true });
    }
    const payload = new RecordWriter()
      .string(1, id)
      .number(2, exitCode)
      .number(3, signal)
      .boolean(4, false)
      .number(5, STARTED_AT_NANOS)
      .number(6, container.finishedAtNanos)
      .finish();
    for (const channel of this.#connections) channel.deliver(FrameType.EXITED, 0, payload);
  }

  receive(channel: FakeChannel, type: number, requestId: number, payload: Buffer): void {
    this.requests.push(type);
    if (this.mute && (type === FrameType.STOP || type === FrameType.SHUTDOWN)) return;
    const [answerType, writer] = this.#answer(channel, type, new RecordReader(payload));
    channel.deliver(answerType, requestId, writer.finish());
  }

  #answer(channel: FakeChannel, type: number, record: RecordReader): [number, RecordWriter] {
    const ok: [number, RecordWriter] = [FrameType.OK, new RecordWriter()];
    switch (type) {
      case FrameType.HELLO:
        return this.#hello(channel, record);
      case FrameType.STATUS:
        return [FrameType.STATUS_ANSWER, this.#status()];
      case FrameType.STOP:
        return this.#stop(record.string(1), record.number(2) ?? 0) ?? ok;
      case FrameType.START:
        return this.#start(record);
      case FrameType.FORGET:
        this.containers.delete(record.string(1) ?? '');
        return ok;
      case FrameType.SHUTDOWN:
        for (const id of this.containers.keys()) this.exit(id, 143, 15);
        this.process.kill('SIGKILL');
        return ok;
      default:
        return failure({ step: 'request', errno: 95, path: '', message: `type ${type}` });
    }
  }

  #hello(channel: FakeChannel, record: RecordReader): [number, RecordWriter] {
    if (record.boolean(2) === true) {
      if (this.#owner !== undefined && this.#owner !== channel) {
        return failure({ step: 'hello', errno: 16, path: '' });
      }
      this.#owner = channel;
      this.onOwnerExit = record.number(3) ?? this.onOwnerExit;
    }
    const welcome = new RecordWriter()
      .number(1, this.version)
      .string(2, this.id)
      .number(3, this.process.pid ?? 0)
      .string(4, 'boot');
    return [FrameType.WELCOME, welcome];
  }

  #stop(id: string | undefined, signal: number): [number, RecordWriter] | undefined {
    if (id !== undefined && this.containers.get(id)?.state !== 2) {
      return failure({ step: 'stop', errno: 3, path: id });
    }
    if (this.stubborn && signal !== 9) return undefined;
    for (const target of id === undefined ? [...this.containers.keys()] : [id]) {
      this.exit(target, 128 + signal, signal);
    }
    return undefined;
  }

  #start(record: RecordReader): [number, RecordWriter] {
    const id = record.string(1) ?? '';
    this.launches.push(record);
    const planned = this.failStart;
    this.failStart = undefined;
    if (planned !== undefined) return failure(planned);
    if (this.containers.has(id)) return failure({ step: 'clone', errno: 17, path: id });
    this.containers.set(id, {
      id,
      kind: record.number(2) ?? 0,
      state: 2,
      exitCode: 0,
      signal: 0,
      finishedAtNanos: 0n,
    });
    const started = new RecordWriter()
      .string(1, id)
      .number(2, this.process.pid ?? 0)
      .number(3, 1)
      .number(4, STARTED_AT_NANOS);
    return [FrameType.STARTED, started];
  }

  #status(): RecordWriter {
    const writer = new RecordWriter();
    for (const container of this.containers.values()) {
      writer.nested(1, (inner) =>
        inner
          .string(1, container.id)
          .number(2, container.kind)
          .number(3, container.state)
          .number(4, this.process.pid ?? 0)
          .number(5, 1)
          .number(6, container.exitCode)
          .number(7, container.signal)
          .boolean(8, false)
          .number(9, STARTED_AT_NANOS)
          .number(10, container.finishedAtNanos),
      );
    }
    return writer.boolean(2, this.hasOwner);
  }

  #gone(): void {
    this.isDead = true;
    for (const channel of [...this.#connections]) channel.peerGone();
    this.#connections.clear();
    this.#owner = undefined;
    if (this.onOwnerExit === 1) rmSync(this.runDirectory, { recursive: true, force: true });
  }
}

function failure({ step, errno, path, message = '' }: FakeFailure): [number, RecordWriter] {
  const record = new RecordWriter().string(1, step).number(2, errno).string(3, path);
  return [FrameType.FAILED, record.string(4, message)];
}

/** A connection to a {@link FakeSupervisor}; frames travel one turn of the loop later, as over a socket. */
class FakeChannel implements Channel {
  readonly #options: ChannelOptions;
  readonly #supervisor: FakeSupervisor;
  #isOpen = true;

  constructor(options: ChannelOptions, supervisor: FakeSupervisor) {
    this.#options = options;
    this.#supervisor = supervisor;
    supervisor.connect(this);
  }

  get peerPid(): number {
    return this.#supervisor.process.pid ?? 0;
  }

  send(type: number, requestId: number, payload: Uint8Array): void {
    if (!this.#isOpen) throw new NativeError({ code: 'EPIPE', message: 'Broken pipe' });
    const copy = Buffer.from(payload);
    setImmediate(() => {
      if (this.#isOpen && !this.#supervisor.isDead) {
        this.#supervisor.receive(this, type, requestId, copy);
      }
    });
  }

  deliver(type: number, requestId: number, payload: Buffer): void {
    setImmediate(() => {
      if (this.#isOpen) this.#options.onFrame(type, requestId, payload, []);
    });
  }

  peerGone(): void {
    setImmediate(() => {
      if (!this.#isOpen) return;
      this.#isOpen = false;
      this.#options.onClose(null);
    });
  }

  ref(): void {}
  unref(): void {}

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#supervisor.disconnect(this);
  }
}

/** The part of the native boundary that sandboxes and containers use, and what it made: for leak checks. */
export class FakeMachine {
  readonly supervisors = new Map<string, FakeSupervisor>();
  readonly cgroups = new Map<string, CgroupResources>();
  readonly oomScores = new Map<string, number>();
  /** What every cgroup uses. */
  usage: Partial<CgroupStats> = {};
  /** Names of native functions that fail next, with the error. */
  readonly failures = new Map<string, Error>();

  readonly native = {
    Channel: this.#channelClass(),
    createCgroup: async (path: string, resources: CgroupResources) => {
      this.#maybeFail('createCgroup');
      this.cgroups.set(path, resources);
      return [`/cgroup/${path}`];
    },
    connectInNamespace: async (_options: object): Promise<number> => {
      throw new NativeError({ code: 'ECONNREFUSED', message: 'nobody listens' });
    },
    killCgroup: async (path: string, _timeoutMs: number) => {
      this.#maybeFail('killCgroup');
      for (const supervisor of this.supervisors.values()) {
        if (path.endsWith(`.supervisors/${supervisor.id}`)) await this.kill(supervisor);
      }
    },
    removeCgroup: async (path: string) => {
      for (const known of [...this.cgroups.keys()]) {
        if (known === path || known.startsWith(`${path}/`)) this.cgroups.delete(known);
      }
    },
    readCgroupStats: async (path: string) => {
      this.#maybeFail('readCgroupStats');
      if (!this.cgroups.has(path)) throw new NativeError({ code: 'ENOENT', message: 'No cgroup' });
      return { ...NO_USAGE, ...this.usage };
    },
    updateCgroup: async (path: string, resources: CgroupResources) => {
      this.#maybeFail('updateCgroup');
      this.cgroups.set(path, { ...this.cgroups.get(path), ...resources });
    },
    setOomScore: async (path: string, score: number) => {
      this.oomScores.set(path, score);
    },
    createSocketPair: () => {
      throw new Error('The fake has no sockets');
    },
    createPipe: () => {
      throw new Error('The fake has no pipes');
    },
    spawnSupervisor: (options: SpawnSupervisorOptions) => this.#spawn(options),
    kindInRoot: async () => null,
    readFileInRoot: async (_rootFd: number, path: string, _maxBytes: number) =>
      path === '/etc/passwd' ? Buffer.from('root:x:0:0::/root:/bin/sh\n') : null,
  };

  supervisor(id: string): FakeSupervisor {
    const supervisor = this.supervisors.get(id);
    if (supervisor === undefined) throw new Error(`No supervisor "${id}"`);
    return supervisor;
  }

  async kill(supervisor: FakeSupervisor): Promise<void> {
    if (supervisor.isDead) return;
    const gone = once(supervisor.process, 'exit');
    supervisor.die();
    await gone;
  }

  /** Ends every stand-in process. */
  async close(): Promise<void> {
    for (const supervisor of this.supervisors.values()) await this.kill(supervisor);
  }

  #maybeFail(name: string): void {
    const error = this.failures.get(name);
    this.failures.delete(name);
    if (error !== undefined) throw error;
  }

  async #spawn(options: SpawnSupervisorOptions): Promise<SpawnedSupervisor> {
    this.#maybeFail('spawnSupervisor');
    const spec = new RecordReader(options.spec);
    const process = spawn('sleep', ['1000'], { stdio: 'ignore' });
    await once(process, 'spawn');
    const id = spec.string(1) ?? '';
    const supervisor = new FakeSupervisor(id, spec.string(2) ?? '', process, spec.number(9) ?? 0);
    this.supervisors.set(id, supervisor);
    const pid = process.pid ?? 0;
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const startTicks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
    return { pid, startTicks };
  }

  #channelClass(): new (options: ChannelOptions) => Channel {
    const machine = this;
    return class extends FakeChannel {
      constructor(options: ChannelOptions) {
        machine.#maybeFail('Channel');
        const found = [...machine.supervisors.values()].find(
          ({ runDirectory }) => join(runDirectory, 'control.sock') === options.path,
        );
        if (found === undefined || found.isDead) {
          throw new NativeError({ code: 'ECONNREFUSED', message: 'Connection refused' });
        }
        super(options, found);
      }
    };
  }
}
