import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Digest } from '../../src/digest.js';
import { UnsupportedError } from '../../src/errors.js';
import { type LayerForm, loadNative } from '../../src/native.js';
import type { BlobSink } from '../../src/registry/blob-sink.js';
import type { LayerRecord } from '../../src/snapshot/layer-record.js';
import { LayerStore } from '../../src/snapshot/layer-store.js';
import { LayerRoot, sha256Of } from '../fixtures/layer-root.js';
import { makeLayerTar } from '../fixtures/layer-tar.js';

/** A source that gives its bytes only when it is let. */
function gatedSource(blob: Uint8Array) {
  let open: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  let started: () => void = () => undefined;
  const start = new Promise<void>((resolve) => {
    started = resolve;
  });
  const state = { streams: 0, ended: false };
  return {
    state,
    open,
    start,
    source: {
      async pour(sink: BlobSink, signal: AbortSignal) {
        state.streams++;
        started();
        try {
          await Promise.race([
            gate,
            new Promise((_, reject) =>
              signal.addEventListener('abort', () => reject(signal.reason), { once: true }),
            ),
          ]);
          sink.write(blob);
        } finally {
          state.ended = true;
        }
      },
    },
  };
}

describe.each(['image', 'directory'] as const)('LayerStore in %s form', (form: LayerForm) => {
  let root: LayerRoot;
  let tar: Buffer;
  beforeEach(async () => {
    root = await LayerRoot.create({ layerForm: form });
    tar = await makeLayerTar([{ name: 'etc/' }, { name: 'etc/a', content: 'A' }]);
  });
  afterEach(() => root.remove());

  const leftInIngest = () => readdirSync(root.paths.ingest);
  const records = () => root.records.collection<LayerRecord>('layers');
  /** As if the machine had gone down before the layer reached the disk. */
  async function pretendPowerLoss(diffId: Digest): Promise<void> {
    await root.store.close();
    await records().update(diffId, (record) =>
      record === undefined ? undefined : { ...record, synced: false, bootId: 'another boot' },
    );
  }

  test('ingest() stores blob and layer, and the record says synced in the end', async () => {
    const blob = gzipSync(tar);
    const options = root.ingestOptions(tar, blob);
    const seen: number[] = [];
    const record = await root.store.ingest({ ...options, onProgress: (bytes) => seen.push(bytes) });
    expect(record).toMatchObject({
      diffId: options.diffId,
      form,
      entries: 2,
      tarBytes: tar.length,
    });
    expect(readFileSync(options.blobPath)).toEqual(blob);
    expect(seen.at(-1)).toBe(blob.length);
    expect(leftInIngest()).toEqual([]);
    const fd = await root.store.descriptor(options.diffId);
    expect(readFileSync(`/proc/self/fd/${fd}/etc/a`, 'utf8')).toBe('A');
    expect(await root.store.descriptor(options.diffId)).toBe(fd);
    await root.store.settled();
    expect(records().get(options.diffId)?.synced).toBe(true);
  });

  test('a layer that its maker left unsynced is synced by the next store', async () => {
    const options = root.ingestOptions(tar);
    await root.store.ingest(options);
    await root.store.close();
    expect(records().get(options.diffId)?.synced).toBe(false);
    await root.open();
    await root.store.settled();
    expect(records().get(options.diffId)?.synced).toBe(true);
  });

  test('ingest() reads nothing from the source when layer and blob are stored', async () => {
    const options = root.ingestOptions(tar);
    const first = await root.store.ingest(options);
    const { source, state } = gatedSource(tar);
    // The background sync may have noted itself in the record meanwhile.
    const second = await root.store.ingest({ ...options, source });
    expect(second.generation).toBe(first.generation);
    expect(state.streams).toBe(0);
  });

  test('ingest() from a stored blob reads nothing from the source', async () => {
    const options = root.ingestOptions(tar);
    mkdirSync(dirname(options.blobPath), { recursive: true });
    writeFileSync(options.blobPath, tar);
    const { source, state } = gatedSource(tar);
    await root.store.ingest({ ...options, source });
    expect(state.streams).toBe(0);
    expect(root.store.has(options.diffId)).toBe(true);
  });

  test('ingest() replaces a damaged blob', async () => {
    const options = root.ingestOptions(tar);
    mkdirSync(dirname(options.blobPath), { recursive: true });
    writeFileSync(options.blobPath, tar.subarray(0, tar.length - 1024));
    await root.store.ingest(options);
    expect(readFileSync(options.blobPath)).toEqual(tar);
  });

  test('ingest() of one layer by several callers fetches it once', async () => {
    const options = root.ingestOptions(tar);
    const { source, state, open, start } = gatedSource(tar);
    const callers = [1, 2, 3].map(() => root.store.ingest({ ...options, source }));
    await start;
    open();
    const results = await Promise.all(callers);
    expect(state.streams).toBe(1);
    expect(new Set(results).size).toBe(1);
  });

  test('ingest() by a second store of the root waits for the first and reuses its layer', async () => {
    const options = root.ingestOptions(tar);
    const first = gatedSource(tar);
    const second = gatedSource(tar);
    const other = await LayerStore.open({
      config: root.config,
      native: loadNative(),
      records: root.records,
    });
    try {
      const fetching = root.store.ingest({ ...options, source: first.source });
      await first.start;
      const waiting = other.ingest({ ...options, source: second.source });
      first.open();
      const record = await fetching;
      expect((await waiting).generation).toBe(record.generation);
      expect(second.state.streams).toBe(0);
    } finally {
      await other.close();
    }
  });

  test('a caller that leaves does not end a shared ingest; the last one does', async () => {
    const options = root.ingestOptions(tar);
    const { source, state, start } = gatedSource(tar);
    const one = new AbortController();
    const two = new AbortController();
    const first = root.store.ingest({ ...options, source, signal: one.signal });
    const second = root.store.ingest({ ...options, source, signal: two.signal });
    await start;
    one.abort(new Error('first left'));
    await expect(first).rejects.toThrow('first left');
    expect(state.ended).toBe(false);
    two.abort(new Error('second left'));
    await expect(second).rejects.toThrow('second left');
    expect(leftInIngest()).toEqual([]);
    expect(root.store.list()).toEqual([]);
    // The way is free for another one.
    await root.store.ingest(options);
  });

  test('a caller that leaves while another process fetches gives the lock back', async () => {
    const options = root.ingestOptions(tar);
    const first = gatedSource(tar);
    const other = await LayerStore.open({
      config: root.config,
      native: loadNative(),
      records: root.records,
    });
    try {
      const fetching = root.store.ingest({ ...options, source: first.source });
      await first.start;
      const leaving = new AbortController();
      const waiting = other.ingest({ ...options, signal: leaving.signal });
      leaving.abort(new Error('left'));
      await expect(waiting).rejects.toThrow('left');
      first.open();
      await fetching;
      await root.store.remove(options.diffId);
    } finally {
      await other.close();
    }
  });

  test.each([
    ['another digest', 'DIGEST_MISMATCH', { digest: sha256Of(Buffer.from('x')) }],
    ['another size', 'SIZE_MISMATCH', { sizeBytes: 1 }],
    ['another diff ID', 'DIFF_ID_MISMATCH', { diffId: sha256Of(Buffer.from('x')) }],
  ])('ingest() of %s leaves nothing behind', async (_, code, change) => {
    const options = { ...root.ingestOptions(tar), ...change };
    await expect(root.store.ingest(options)).rejects.toMatchObject({ code });
    expect(leftInIngest()).toEqual([]);
    expect(existsSync(options.blobPath)).toBe(false);
    expect(readdirSync(root.paths.layers)).toEqual([]);
    expect(root.store.list()).toEqual([]);
  });

  test('remove() forgets a layer, which can then be stored again', async () => {
    const options = root.ingestOptions(tar);
    await root.store.ingest(options);
    const fd = await root.store.descriptor(options.diffId);
    await root.store.remove(options.diffId);
    await root.store.remove(options.diffId);
    expect(root.store.has(options.diffId)).toBe(false);
    expect(readdirSync(root.paths.layers)).toEqual([]);
    expect(existsSync(root.paths.links) ? readdirSync(root.paths.links) : []).toEqual([]);
    expect(existsSync(`/proc/self/fd/${fd}/etc`)).toBe(false);
    await root.store.ingest(options);
    await root.store.descriptor(options.diffId);
    await expect(root.store.descriptor(sha256Of(Buffer.from('x')))).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });

  test('open() removes what dead processes left, and nothing of live ones', async () => {
    const options = root.ingestOptions(tar);
    const dead = `layer-${'0'.repeat(64)}`;
    mkdirSync(join(root.paths.ingest, dead, 'layer', 'deep'), { recursive: true });
    mkdirSync(join(root.paths.ingest, 'not-ours'));
    writeFileSync(join(root.paths.layers, '1'.repeat(64)), 'renamed, not recorded');
    const live = gatedSource(tar);
    const fetching = root.store.ingest({ ...options, source: live.source });
    await live.start;
    const other = await LayerStore.open({
      config: root.config,
      native: loadNative(),
      records: root.records,
    });
    await other.close();
    const ours = `layer-${options.diffId.slice('sha256:'.length)}`;
    expect(leftInIngest().sort()).toEqual([ours, 'not-ours'].sort());
    expect(readdirSync(root.paths.layers)).toEqual([]);
    live.open();
    await fetching;
    await root.store.descriptor(options.diffId);
  });

  test('open() after a power loss makes a layer that was damaged again from its blob', async () => {
    const options = root.ingestOptions(tar);
    const before = await root.store.ingest(options);
    await pretendPowerLoss(options.diffId);
    const path = join(root.paths.layers, options.diffId.slice('sha256:'.length));
    if (form === 'image') truncateSync(path, 5000);
    await root.open();
    expect(root.store.get(options.diffId)?.generation).not.toBe(before.generation);
    const fd = await root.store.descriptor(options.diffId);
    expect(readFileSync(`/proc/self/fd/${fd}/etc/a`, 'utf8')).toBe('A');
  });

  test('open() after a power loss forgets a layer that cannot be made again', async () => {
    const options = root.ingestOptions(tar);
    await root.store.ingest(options);
    await pretendPowerLoss(options.diffId);
    const path = join(root.paths.layers, options.diffId.slice('sha256:'.length));
    if (form === 'image') truncateSync(path, 5000);
    truncateSync(options.blobPath, 100);
    await root.open();
    expect(root.store.has(options.diffId)).toBe(false);
    expect(existsSync(options.blobPath)).toBe(false);
    expect(readdirSync(root.paths.layers)).toEqual([]);
  });

  test('an image without layers has an empty directory below it', async () => {
    expect([...(await root.readChain([])).keys()]).toEqual(['.']);
    expect((await root.readChain([])).get('.')).toMatchObject({ mode: '755', owner: '0:0' });
  });

  test('mend() makes one layer for a chain, once, and remove() takes it along', async () => {
    const base = await root.ingest(await makeLayerTar([{ name: 'd/', mode: 0o700, uid: 7 }]));
    const top = await root.ingest(await makeLayerTar([{ name: 'd/f', content: 'x' }]));
    const made = await root.store.mend([base, top]);
    expect(made.written).toBe(true);
    expect((await root.store.mend([base, top])).generation).toBe(made.generation);
    expect((await root.store.lowerOf([base, top])).length).toBe(3);
    expect((await root.store.mend([base])).written).toBe(false);
    expect((await root.readChain([base, top])).get('d')).toMatchObject({
      mode: '700',
      owner: '7:0',
    });
    await root.store.remove(base);
    expect(readdirSync(root.paths.mends)).toEqual([]);
    expect(leftInIngest()).toEqual([]);
  });
});

describe('LayerStore', () => {
  let root: LayerRoot;
  beforeEach(async () => {
    root = await LayerRoot.create({ layerForm: 'image' });
  });
  afterEach(() => root.remove());

  test('verify() hashes the tar inside an image, and finds damage of tar and head', async () => {
    const tar = await makeLayerTar([{ name: 'a', content: 'A'.repeat(10_000) }]);
    const diffId = await root.ingest(tar);
    const path = join(root.paths.layers, diffId.slice('sha256:'.length));
    const image = readFileSync(path);
    expect(sha256Of(image.subarray(4096, 4096 + tar.length))).toBe(diffId);
    expect(await root.store.verify(diffId)).toBe('intact');
    for (const offset of [5000, 1100]) {
      const fd = openSync(path, 'r+');
      writeSync(fd, Buffer.from([(image[offset] ?? 0) ^ 1]), 0, 1, offset);
      expect(await root.store.verify(diffId)).toBe('damaged');
      writeSync(fd, image, offset, 1, offset);
      closeSync(fd);
    }
    expect(await root.store.verify(diffId)).toBe('intact');
  });

  test('open() after a power loss keeps an image that is whole, and drops its damaged blob', async () => {
    const tar = await makeLayerTar([{ name: 'a', content: 'A' }]);
    const options = root.ingestOptions(tar);
    const before = await root.store.ingest(options);
    await root.store.close();
    const records = root.records.collection<LayerRecord>('layers');
    await records.put(options.diffId, { ...before, synced: false, bootId: 'another boot' });
    truncateSync(options.blobPath, 100);
    await root.open();
    expect(root.store.get(options.diffId)?.generation).toBe(before.generation);
    expect(existsSync(options.blobPath)).toBe(false);
  });

  test('open() says so when the image form is demanded and the kernel refuses it', async () => {
    const native = Object.create(loadNative(), {
      probeLayerImage: { value: async () => ({ supported: false, reason: 'fsconfig: EINVAL' }) },
    });
    await root.records.collection('settings').remove('layer-form');
    const opening = LayerStore.open({ config: root.config, native, records: root.records });
    await expect(opening).rejects.toThrow(UnsupportedError);
    await expect(opening).rejects.toThrow(/fsconfig: EINVAL/);
    const auto = await LayerStore.open({
      config: { ...root.config, layerForm: 'auto' },
      native,
      records: root.records,
    });
    expect(auto.form).toBe('directory');
    await auto.close();
  });
});
