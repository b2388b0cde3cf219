import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { digestOf } from '../../src/digest.js';
import { failureOf, TestJob } from '../fixtures/layer-job.js';
import { END, member } from '../fixtures/raw-tar.js';
import { zstd } from '../fixtures/zstd.js';

const PATIENT_MS = 20_000;
const tar = Buffer.concat([member({ name: 'random' }, randomBytes(3_000_000)), END]);
const blob = gzipSync(tar, { level: 1 });
const compressed = { gzip: blob, zstd: zstd(tar) } as const;

let root: string;
let server: Server;
/** The other end of each connection. */
let peers: Socket[];

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'cais-layer-receive-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

beforeEach(async () => {
  peers = [];
  server = createServer((peer) => peers.push(peer.on('error', () => undefined)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(async () => {
  for (const peer of peers) peer.destroy();
  await new Promise((resolve) => server.close(resolve));
});

/** A connection that nobody reads on this side. */
class Line {
  readonly socket: Socket;
  readonly peer: Socket;

  private constructor(socket: Socket, peer: Socket) {
    this.socket = socket;
    this.peer = peer;
  }

  static async open(): Promise<Line> {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1').pause();
    const accepted = once(server, 'connection');
    await once(socket, 'connect');
    const [peer] = await accepted;
    return new Line(socket, peer);
  }

  get fd(): number {
    return (this.socket as unknown as { _handle: { fd: number } })._handle.fd;
  }

  close(): void {
    this.socket.destroy();
  }
}

describe('receive() of a LayerJob', () => {
  test('takes what comes by a connection, after what was written, and no byte more', async () => {
    const line = await Line.open();
    const { job } = new TestJob(root, { expectedDigest: digestOf(blob) });
    const written = 1000;
    const first = 1_000_000;
    job.write(blob.subarray(0, written));
    line.peer.write(Buffer.concat([blob.subarray(written), Buffer.from('hello')]));
    expect(await job.receive(line.fd, first, PATIENT_MS)).toEqual({
      bytes: first,
      end: 'complete',
      errno: 0,
    });
    expect(job.receivedBytes()).toBe(first);
    const rest = blob.length - written - first;
    expect(await job.receive(line.fd, rest, PATIENT_MS)).toMatchObject({ end: 'complete' });
    const result = await job.finish();
    expect(result).toMatchObject({ sizeBytes: blob.length, diffId: digestOf(tar), entries: 1 });
    // The owner's again, who hears of a few bytes at once.
    const [chunk] = await once(line.socket.resume(), 'data');
    expect(String(chunk)).toBe('hello');
    line.close();
  });

  test('takes little by little what comes slowly', async () => {
    const line = await Line.open();
    const small = gzipSync(Buffer.concat([member({ name: 'a' }, 'text'), END]));
    const { job } = new TestJob(root, { expectedDigest: digestOf(small) });
    const received = job.receive(line.fd, small.length, 500);
    for (const byte of small) {
      line.peer.write(Buffer.of(byte));
      await delay(3);
    }
    expect(await received).toMatchObject({ bytes: small.length, end: 'complete' });
    expect(await job.finish()).toMatchObject({ entries: 1 });
    line.close();
  });

  test.each(['gzip', 'zstd'] as const)(
    'goes on by another connection where one was closed, with %s',
    async (compression) => {
      const bytes = compressed[compression];
      const { job } = new TestJob(root, { expectedDigest: digestOf(bytes) });
      const cut = 700_001;
      const first = await Line.open();
      first.peer.end(bytes.subarray(0, cut));
      expect(await job.receive(first.fd, bytes.length, PATIENT_MS)).toEqual({
        bytes: cut,
        end: 'closed',
        errno: 0,
      });
      first.close();
      const second = await Line.open();
      second.peer.write(bytes.subarray(cut));
      expect(await job.receive(second.fd, bytes.length - cut, PATIENT_MS)).toMatchObject({
        end: 'complete',
      });
      second.close();
      expect(await job.finish()).toMatchObject({
        compression,
        sizeBytes: bytes.length,
        diffId: digestOf(tar),
      });
    },
  );

  test.each(['gzip', 'zstd'] as const)(
    'ends wherever in a layer it is aborted, with %s',
    async (compression) => {
      const bytes = compressed[compression];
      for (let cut = 1; cut < bytes.length; cut += 270_001) {
        const { job } = new TestJob(root);
        const line = await Line.open();
        line.peer.write(bytes.subarray(0, cut));
        const received = job.receive(line.fd, bytes.length, PATIENT_MS);
        await expect.poll(() => job.receivedBytes(), { interval: 1 }).toBe(cut);
        job.abort();
        expect(await received).toMatchObject({ end: 'stopped' });
        expect(await failureOf(job.finish())).toContain('ABORTED');
        line.close();
      }
    },
  );

  test('ends when no byte comes for too long', async () => {
    const { job } = new TestJob(root);
    const line = await Line.open();
    line.peer.write(blob.subarray(0, 5000));
    const started = performance.now();
    expect(await job.receive(line.fd, blob.length, 200)).toEqual({
      bytes: 5000,
      end: 'idle',
      errno: 0,
    });
    expect(performance.now() - started).toBeGreaterThan(199);
    line.close();
    job.abort();
    await failureOf(job.finish());
  });

  test('tells how a connection broke', async () => {
    const { job } = new TestJob(root);
    const line = await Line.open();
    const received = job.receive(line.fd, blob.length, PATIENT_MS);
    line.peer.resetAndDestroy();
    const ECONNRESET = 104;
    expect(await received).toEqual({ bytes: 0, end: 'failed', errno: ECONNRESET });
    line.close();
    job.abort();
    await failureOf(job.finish());
  });

  test('ends with the job when that is aborted or fails by itself', async () => {
    const aborted = new TestJob(root).job;
    const line = await Line.open();
    const waiting = aborted.receive(line.fd, 10, PATIENT_MS);
    // The descriptor is the job's own.
    line.close();
    await delay(20);
    aborted.abort();
    expect(await waiting).toMatchObject({ bytes: 0, end: 'stopped' });
    expect(await failureOf(aborted.finish())).toContain('ABORTED');

    const bad = new TestJob(root).job;
    const other = await Line.open();
    other.peer.write(Buffer.alloc(100_000, 'no tar'));
    const stopped = await bad.receive(other.fd, 1_000_000, PATIENT_MS);
    expect(stopped.end).toBe('stopped');
    expect(await failureOf(bad.failed)).toContain('BAD_TAR');
    expect(await bad.receive(other.fd, 1, PATIENT_MS)).toEqual({
      bytes: 0,
      end: 'stopped',
      errno: 0,
    });
    expect(await failureOf(bad.finish())).toContain('BAD_TAR');
    other.close();
  });

  test('lets finish() wait for it, and nothing else come between', async () => {
    const { job } = new TestJob(root, { expectedDigest: digestOf(blob) });
    const line = await Line.open();
    const received = job.receive(line.fd, blob.length, PATIENT_MS);
    expect(() => job.write(Buffer.from('x'))).toThrow('LayerJob.write during or after receive');
    expect(() => job.readFrom(0)).toThrow('LayerJob.readFrom during or after receive');
    expect(() => job.receive(line.fd, 1, 1)).toThrow('LayerJob.receive during or after receive');
    const finished = job.finish();
    line.peer.write(blob);
    expect(await received).toMatchObject({ end: 'complete' });
    expect(await finished).toMatchObject({ sizeBytes: blob.length });
    line.close();
  });

  test('refuses what is no descriptor, no size and no time', async () => {
    const { job } = new TestJob(root);
    const closed = 1_000_000;
    expect(() => job.receive(closed, 1, 1)).toThrow('EBADF');
    expect(() => job.receive(-1, 1, 1)).toThrow('fd: expected');
    expect(() => job.receive(0, 0, 1)).toThrow('bytes: expected');
    expect(() => job.receive(0, 1, 0)).toThrow('idleTimeoutMs: expected');
    job.abort();
    await failureOf(job.finish());
  });
});
