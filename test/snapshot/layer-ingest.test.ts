import { closeSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { type FileHandle, open as openFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BlobSink } from '../../src/registry/blob-sink.js';
import { LayerRoot } from '../fixtures/layer-root.js';
import { makeLayerTar } from '../fixtures/layer-tar.js';

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
