import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { loadNative } from '../../src/native.js';
import { TestSandbox } from '../fixtures/supervisor.js';

const STREAM_NAMES = ['', 'stdout', 'stderr', 'end'] as const;
/** `u8 stream | u8×3 zero | u32 length`. */
const CHUNK_HEADER_BYTES = 8;
const MEBIBYTE = 2 ** 20;
const PATIENCE = { timeout: 20_000 * Number(process.env['CAIS_TIME_FACTOR'] ?? 1) };
const STREAMS = { stdin: true, stdout: true, stderr: true };

let sandbox: TestSandbox;
const clients: AttachedClient[] = [];

beforeAll(async () => {
  sandbox = await TestSandbox.start();
});
afterEach(() => {
  for (const client of clients.splice(0)) client.socket.destroy();
});
afterAll(() => sandbox.dispose());

/** One end of an attached socket, its output taken apart. */
class AttachedClient {
  readonly socket: Socket;
  readonly output = { stdout: '', stderr: '' };
  /** Streams of the chunks in order, repetitions left out. */
  readonly order: string[] = [];
  bytesReceived = 0;
  readonly closed: Promise<void>;
  #pending = Buffer.alloc(0);

  private constructor(fd: number) {
    this.socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
    this.socket.pause();
    this.closed = new Promise((resolve) => this.socket.once('end', () => resolve()));
  }

  static async attach(
    wanted: { readonly id: string } & Partial<typeof STREAMS>,
  ): Promise<AttachedClient> {
    const { fd, peerFd } = loadNative().createSocketPair();
    const client = new AttachedClient(fd);
    clients.push(client);
    try {
      await sandbox.client.attach({ ...STREAMS, ...wanted }, { socketFd: peerFd });
    } finally {
      closeSync(peerFd);
    }
    return client;
  }

  /** Starts reading. */
  read(): this {
    this.socket.on('data', (bytes) => this.#take(bytes)).resume();
    return this;
  }

  #take(bytes: Buffer): void {
    this.#pending = Buffer.concat([this.#pending, bytes]);
    while (this.#pending.length >= CHUNK_HEADER_BYTES) {
      const endOffset = CHUNK_HEADER_BYTES + this.#pending.readUInt32LE(4);
      if (this.#pending.length < endOffset) return;
      const name = STREAM_NAMES[this.#pending.readUInt32LE(0)] ?? 'unknown';
      const text = this.#pending.toString('latin1', CHUNK_HEADER_BYTES, endOffset);
      if (this.order.at(-1) !== name) this.order.push(name);
      if (name === 'stdout' || name === 'stderr') this.output[name] += text;
      this.bytesReceived += text.length;
      this.#pending = this.#pending.subarray(endOffset);
    }
  }
}

describe('an attached client', () => {
  test('gets both streams as the log does, and an end', async () => {
    const id = await sandbox.run('read line; echo "out $line"; read line; echo "err $line" >&2', {
      spec: { stdin: 'pipe' },
    });
    const client = (await AttachedClient.attach({ id })).read();
    client.socket.write('one\n');
    await expect.poll(() => client.output.stdout, PATIENCE).toBe('out one\n');
    client.socket.write('two\n');
    await client.closed;
    expect(client.output).toEqual({ stdout: 'out one\n', stderr: 'err two\n' });
    expect(client.order).toEqual(['stdout', 'stderr', 'end']);
    expect(await sandbox.exit(id)).toMatchObject({ exitCode: 0 });
    expect(sandbox.output(id)).toEqual(client.output);
  });

  test('gets only the streams that it asked for', async () => {
    const id = await sandbox.run('read line; echo out; echo err >&2', { spec: { stdin: 'pipe' } });
    const errors = (await AttachedClient.attach({ id, stdin: false, stdout: false })).read();
    const both = (await AttachedClient.attach({ id })).read();
    errors.socket.write('not read\n');
    both.socket.write('go\n');
    await Promise.all([errors.closed, both.closed]);
    expect(errors.output).toEqual({ stdout: '', stderr: 'err\n' });
    expect(both.output).toEqual({ stdout: 'out\n', stderr: 'err\n' });
  });

  test('that goes leaves the container and its log alone; with stdin "pipe" the next one goes on writing', async () => {
    const id = await sandbox.run('cat', { spec: { stdin: 'pipe' } });
    const first = (await AttachedClient.attach({ id })).read();
    first.socket.write('first\n');
    await expect.poll(() => first.output.stdout, PATIENCE).toBe('first\n');
    first.socket.destroy();
    const second = (await AttachedClient.attach({ id })).read();
    second.socket.write('second\n');
    await expect.poll(() => second.output.stdout, PATIENCE).toBe('second\n');
    expect(sandbox.output(id).stdout).toBe('first\nsecond\n');
    await sandbox.client.stop({ id, signal: 9 });
    await second.closed;
    expect(second.order.at(-1)).toBe('end');
  });

  test('with stdin "pipeOnce" ends the input by ending its own', async () => {
    const id = await sandbox.run('cat; echo over', { spec: { stdin: 'pipeOnce' } });
    const client = (await AttachedClient.attach({ id })).read();
    client.socket.end('all\n');
    await client.closed;
    expect(client.output.stdout).toBe('all\nover\n');
    expect(await sandbox.exit(id)).toMatchObject({ exitCode: 0 });
  });

  test('writes much input to a program that starts to read late', async () => {
    const id = await sandbox.run('sleep 0.3; wc -c', { spec: { stdin: 'pipeOnce' } });
    const client = (await AttachedClient.attach({ id })).read();
    client.socket.end(Buffer.alloc(3 * MEBIBYTE, 'x'));
    await client.closed;
    expect(client.output.stdout.trim()).toBe(String(3 * MEBIBYTE));
  });

  test('that does not read loses what is beyond 1 MiB and is told; container, log and others are not held up', async () => {
    const id = await sandbox.run(
      'read line; head -c 3m /dev/zero | tr "\\000" x; echo; read line; echo later',
      { spec: { stdin: 'pipe' } },
    );
    const slow = await AttachedClient.attach({ id });
    slow.socket.write('go\n');
    const logged = () => sandbox.output(id).stdout.length;
    await expect.poll(logged, PATIENCE).toBe(3 * MEBIBYTE + 1);
    const other = (await AttachedClient.attach({ id })).read();
    other.socket.write('more\n');
    await other.closed;
    expect(other.output.stdout).toBe('later\n');
    expect(await sandbox.exit(id)).toMatchObject({ exitCode: 0 });
    slow.read();
    await slow.closed;
    expect(slow.order).toEqual(['stdout', 'end']);
    // The queue, and what the socket itself holds.
    expect(slow.bytesReceived).toBeGreaterThan(MEBIBYTE / 2);
    expect(slow.bytesReceived).toBeLessThan(2 * MEBIBYTE);
  });

  test('is refused for what has ended and for the stdin of what has none', async () => {
    const { id } = await sandbox.complete('true');
    await expect(AttachedClient.attach({ id })).rejects.toMatchObject({ errnoCode: 'ESRCH' });
    const running = await sandbox.run('sleep 1000');
    await expect(AttachedClient.attach({ id: running })).rejects.toMatchObject({
      errnoCode: 'EPIPE',
    });
    await AttachedClient.attach({ id: running, stdin: false });
    await sandbox.client.stop({ id: running, signal: 9 });
  });
});

describe('a terminal', () => {
  test('is attached to, resized, and echoes', async () => {
    // The signal comes while a program runs: one that comes during `read` would end that.
    const id = await sandbox.run(
      'trap "stty size; resized=1" WINCH; read line; stty size; until [ "$resized" ]; do sleep 0.05; done; cat',
      { spec: { terminal: true, windowSize: { rows: 24, columns: 80 }, stdin: 'pipe' } },
    );
    const client = (await AttachedClient.attach({ id })).read();
    // Each step waits for the output before: the terminal's echo may else stand in the middle of a line.
    const shows = (text: string) =>
      expect.poll(() => client.output.stdout, PATIENCE).toContain(text);
    client.socket.write('a\n');
    await shows('a\r\n24 80\r\n');
    await sandbox.client.resize({ id, rows: 50, columns: 132 });
    await shows('50 132\r\n');
    client.socket.write('b\n');
    await shows('b\r\nb\r\n');
    // End of file, as a person types it.
    client.socket.write('\x04');
    await client.closed;
    expect(client.order).toEqual(['stdout', 'end']);
    expect(await sandbox.exit(id)).toMatchObject({ exitCode: 0 });
  });

  test('cannot be resized where there is none, or beyond its numbers', async () => {
    const id = await sandbox.run('sleep 1000');
    const size = { rows: 1, columns: 1 };
    await expect(sandbox.client.resize({ id, ...size })).rejects.toMatchObject({
      errnoCode: 'ENOTTY',
    });
    await expect(sandbox.client.resize({ id: 'absent', ...size })).rejects.toMatchObject({
      errnoCode: 'ESRCH',
    });
    await expect(sandbox.client.resize({ id, rows: 65536, columns: 1 })).rejects.toMatchObject({
      errnoCode: 'EPROTO',
    });
    await sandbox.client.stop({ id, signal: 9 });
  });
});
