import { type ChildProcess, spawn } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { NativeError } from '../../src/errors.js';
import { type Channel, loadNative } from '../../src/native.js';

const native = loadNative();
const RAW = 99;
let directory: string;
let path: string;
let peer: ChildProcess;

interface Received {
  readonly type: number;
  readonly requestId: number;
  readonly payload: Buffer;
  readonly fds: number[];
}

/** A channel that collects what it gets; `frames(n)` waits for the n-th, `closed` for the end. */
function connect(to = path) {
  const received: Received[] = [];
  let wake = () => {};
  let end: (error: NativeError | null) => void = () => {};
  const closed = new Promise<NativeError | null>((resolve) => {
    end = resolve;
  });
  const channel: Channel = new native.Channel({
    path: to,
    onFrame: (type, requestId, payload, fds) => {
      received.push({ type, requestId, payload, fds });
      wake();
    },
    onClose: (error) => end(error),
  });
  const frames = async (count: number) => {
    while (received.length < count) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return received;
  };
  return { channel, received, frames, closed };
}

const openFds = () => readdirSync('/proc/self/fd').length;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'cais-channel-'));
  // Longer than sockaddr_un takes, as a path below a deep root is.
  const deep = join(directory, 'd'.repeat(100), 'e'.repeat(100));
  mkdirSync(deep, { recursive: true });
  path = join(deep, 'control.sock');
  peer = spawn('python3', [join(import.meta.dirname, 'echo-peer.py'), deep, 'control.sock', '7'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve) =>
    createInterface(peer.stdout as NodeJS.ReadableStream).once('line', resolve),
  );
});

afterAll(() => {
  peer.kill('SIGKILL');
  rmSync(directory, { recursive: true, force: true });
});

describe('Channel', () => {
  test('carries frames and descriptors both ways, however the bytes are cut', async () => {
    const file = join(directory, 'file');
    writeFileSync(file, 'through the socket');
    const before = openFds();
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            type: fc.integer({ min: 0, max: RAW - 1 }),
            requestId: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
            payload: fc.oneof(
              fc.uint8Array({ maxLength: 64 }),
              fc.integer({ min: 0, max: 300_000 }).map((size) => new Uint8Array(size).fill(size)),
            ),
            fds: fc.integer({ min: 0, max: 3 }),
          }),
          { minLength: 1, maxLength: 12 },
        ),
        async (sent) => {
          const { channel, frames } = connect();
          const fd = openSync(file, 'r');
          for (const frame of sent) {
            channel.send(frame.type, frame.requestId, frame.payload, Array(frame.fds).fill(fd));
          }
          closeSync(fd);
          const got = await frames(sent.length);
          channel.close();
          expect(got).toHaveLength(sent.length);
          for (const [i, frame] of got.entries()) {
            const original = sent[i] as (typeof sent)[number];
            expect(frame.type).toBe(original.type);
            expect(frame.requestId).toBe(original.requestId);
            expect(frame.payload.equals(original.payload)).toBe(true);
            expect(frame.fds).toHaveLength(original.fds);
            for (const received of frame.fds) {
              expect(readFileSync(`/proc/self/fd/${received}`, 'utf8')).toBe('through the socket');
              closeSync(received);
            }
          }
        },
      ),
      { numRuns: 40 },
    );
    await expect.poll(openFds).toBe(before);
  });

  test('carries 253 descriptors and the largest payload, and refuses more', async () => {
    const { channel, frames } = connect();
    const fd = openSync('/dev/null', 'r');
    channel.send(1, 1, new Uint8Array(4 << 20), Array(253).fill(fd));
    const [frame] = await frames(1);
    expect(frame?.payload.length).toBe(4 << 20);
    expect(frame?.fds).toHaveLength(253);
    for (const received of frame?.fds ?? []) closeSync(received);
    for (const wrong of [
      () => channel.send(1, 1, new Uint8Array((4 << 20) + 1), []),
      () => channel.send(1, 1, new Uint8Array(), Array(254).fill(fd)),
    ]) {
      expect(wrong).toThrow(expect.objectContaining({ code: 'LIMIT_EXCEEDED' }));
    }
    expect(() => channel.send(1, 1, new Uint8Array(), [999_999])).toThrow(
      expect.objectContaining({ code: 'EBADF' }),
    );
    expect(() => channel.send(70_000, 1, new Uint8Array(), [])).toThrow(TypeError);
    closeSync(fd);
    channel.close();
  });

  test('knows the pid of its peer', () => {
    const { channel } = connect();
    expect(channel.peerPid).toBe(peer.pid);
    channel.close();
  });

  test.each([
    ['a length above the limit', [0, 0, 0, 0x10, 1, 0, 0, 0, 0, 0, 0, 0], 'BAD_FRAME'],
    ['reserved bytes that are not zero', [0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0], 'BAD_FRAME'],
    ['an end inside the header', [0, 0, 0], 'BAD_FRAME'],
    ['an end inside the payload', [9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1], 'BAD_FRAME'],
    ['an end between frames', [], null],
  ])('closes once after %s', async (_, bytes, code) => {
    const { channel, closed, received } = connect();
    channel.send(RAW, 1, new Uint8Array(bytes as number[]), []);
    expect((await closed)?.code ?? null).toBe(code);
    expect(received).toHaveLength(0);
    expect(() => channel.send(1, 1, new Uint8Array(), [])).toThrow(
      expect.objectContaining({ code: 'EPIPE' }),
    );
    channel.close();
  });

  test('may be closed by the script in the middle of a frame, without another callback', async () => {
    let calls = 0;
    await new Promise<void>((resolve) => {
      const channel = new native.Channel({
        path,
        onFrame: () => {
          calls += 1;
          channel.close();
          channel.close();
          setImmediate(resolve);
        },
        onClose: () => {
          calls += 100;
        },
      });
      for (let i = 0; i < 5; i++) channel.send(1, i, new Uint8Array(), []);
    });
    expect(calls).toBe(1);
  });

  test('does not let memory grow for a peer that does not read', () => {
    const { channel } = connect();
    const payload = new Uint8Array(4 << 20);
    expect(() => {
      for (let i = 0; i < 100; i++) channel.send(RAW + 1, i, payload, []);
    }).toThrow(expect.objectContaining({ code: 'LIMIT_EXCEEDED' }));
    channel.close();
  });

  test('names the socket that is not there', () => {
    expect(() => connect(join(directory, 'none'))).toThrow(
      expect.objectContaining({ code: 'ENOENT', path: join(directory, 'none') }),
    );
  });

  test('ends with the worker thread that has it, open or closing', async () => {
    const addon = join(import.meta.dirname, '../../build/Release/cais.node');
    for (const close of [false, true]) {
      const worker = new Worker(
        `const native = require(${JSON.stringify(addon)});
         const channel = new native.Channel({ path: ${JSON.stringify(path)},
           onFrame: () => {
             require('node:worker_threads').parentPort.postMessage('frame');
             ${close ? 'channel.close();' : ''}
           },
           onClose: () => {} });
         for (let i = 0; i < 100; i++) channel.send(1, i, new Uint8Array(1000), []);`,
        { eval: true },
      );
      await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
      await worker.terminate();
    }
  });
});
