import { once } from 'node:events';
import { closeSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { type FileHandle, open as openFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BlobSink, PlainConnection } from '../../src/registry/blob-sink.js';
import { LayerRoot } from '../fixtures/layer-root.js';
import { makeLayerTar } from '../fixtures/layer-tar.js';

/** Runs `use` with the two ends of a connection, of which nobody reads the first. */
async function withConnection(use: (socket: Socket, peer: Socket) => Promise<void>) {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1').pause();
  const [peer] = await accepted;
  peer.on('error', () => undefined);
  try {
    await use(socket, peer);
  } finally {
    socket.destroy();
    peer.destroy();
    server.close();
  }
}

function connectionOf(socket: Socket, bytes: number): PlainConnection {
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
  return { fd, bytes, idleTimeoutMs: 20_000 };
}

describe.each(['image', 'directory'] as const)('the source of a layer in %s form', (layerForm) => {
  let root: LayerRoot;
  let tar: Buffer;
  beforeEach(async () => {
    root = await LayerRoot.create({ layerForm });
    tar = await makeLayerTar([{ name: 'etc/' }, { name: 'etc/a', content: 'A' }]);
  });
  afterEach(() => root.remove());

  const leftInIngest = () => readdirSync(root.paths.ingest);

  test('ingest() takes a file descriptor', async () => {
    const options = root.ingestOptions(tar);
    const path = join(root.directory, 'given');
    writeFileSync(path, tar);
    const fd = openSync(path, 'r');
    try {
      await root.store.ingest({ ...options, source: { fd } });
    } finally {
      closeSync(fd);
    }
    expect(root.store.has(options.diffId)).toBe(true);
  });

  test('ingest() opens a file when it needs it, and closes it', async () => {
    const options = root.ingestOptions(tar);
    const path = join(root.directory, 'given');
    writeFileSync(path, tar);
    const opened: FileHandle[] = [];
    const source = {
      openFile: async () => {
        const file = await openFile(path);
        opened.push(file);
        return file;
      },
    };
    const seen: number[] = [];
    const onProgress = (bytes: number) => seen.push(bytes);
    await root.store.ingest({ ...options, source, onProgress });
    await root.store.ingest({ ...options, source });
    expect(seen).toEqual([tar.length]);
    expect(opened.map(({ fd }) => fd)).toEqual([-1]);
    await root.store.remove(options.diffId);
    writeFileSync(path, tar.subarray(0, 512));
    rmSync(options.blobPath);
    await expect(root.store.ingest({ ...options, source })).rejects.toMatchObject({
      code: 'SIZE_MISMATCH',
    });
    expect(opened.map(({ fd }) => fd)).toEqual([-1, -1]);
  });

  test('ingest() passes the failure of its source on, and leaves nothing behind', async () => {
    const options = root.ingestOptions(tar);
    const source = {
      async pour() {
        throw new Error('connection lost');
      },
    };
    await expect(root.store.ingest({ ...options, source })).rejects.toThrow('connection lost');
    expect(leftInIngest()).toEqual([]);
  });

  test('ingest() reads a connection itself, and tells how far it is', async () => {
    const big = await makeLayerTar([{ name: 'a', content: 'A'.repeat(1_000_000) }]);
    const half = big.length >> 1;
    const seen: number[] = [];
    await withConnection(async (socket, peer) => {
      const source = {
        async pour({ receive }: BlobSink) {
          peer.write(big.subarray(0, half));
          const received = receive?.(connectionOf(socket, big.length));
          while (!seen.some((bytes) => bytes > 0)) await delay(5);
          peer.end(big.subarray(half));
          expect(await received).toEqual({ bytes: big.length, fault: undefined });
        },
      };
      const onProgress = (bytes: number) => seen.push(bytes);
      const options = root.ingestOptions(big);
      await root.store.ingest({ ...options, source, onProgress });
      expect(root.store.has(options.diffId)).toBe(true);
    });
    expect(seen[0]).toBeLessThanOrEqual(half);
    expect(seen.at(-1)).toBe(big.length);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });

  test('ingest() fails for its own reason while it reads a connection, and passes faults on', async () => {
    // More than what is waited for before it is looked at.
    const bad = await makeLayerTar([{ name: '../out', content: 'x'.repeat(600_000) }]);
    const faults: unknown[] = [];
    await withConnection(async (socket, peer) => {
      const source = {
        async pour({ receive }: BlobSink) {
          peer.write(bad);
          await receive?.(connectionOf(socket, 2 * bad.length));
        },
      };
      const options = { ...root.ingestOptions(bad), source };
      await expect(root.store.ingest(options)).rejects.toMatchObject({ code: 'REFUSED_ENTRY' });
    });
    for (const end of ['end', 'resetAndDestroy'] as const) {
      await withConnection(async (socket, peer) => {
        const source = {
          async pour({ receive }: BlobSink) {
            const received = receive?.(connectionOf(socket, tar.length));
            peer[end]();
            faults.push((await received)?.fault);
            throw new Error('connection lost');
          },
        };
        const ingested = root.store.ingest({ ...root.ingestOptions(tar), source });
        await expect(ingested).rejects.toThrow('connection lost');
      });
    }
    expect(faults).toMatchObject(['closed', { code: 'ECONNRESET' }]);
    expect(leftInIngest()).toEqual([]);
  });

  test('ingest() ends a source that would go on when the layer is refused', async () => {
    const bad = await makeLayerTar([{ name: '../out' }]);
    const ends: unknown[] = [];
    const source = {
      async pour(sink: BlobSink) {
        try {
          sink.write(bad);
          // Does not hear the signal; ends only by what the sink throws.
          for (;;) {
            await nextTurn();
            if (!sink.write(Buffer.alloc(65_536))) await sink.drained();
          }
        } catch (error) {
          ends.push(error);
          throw error;
        }
      },
    };
    await expect(
      root.store.ingest({ ...root.ingestOptions(bad), sizeBytes: 2 ** 40, source }),
    ).rejects.toMatchObject({ code: 'REFUSED_ENTRY' });
    await nextTurn();
    expect(ends).toMatchObject([{ code: 'REFUSED_ENTRY' }]);
  });
});
