import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Digest, digestHex } from '../../src/digest.js';
import { loadNative } from '../../src/native.js';
import type { BlobSink } from '../../src/registry/blob-sink.js';
import { LayerStore } from '../../src/snapshot/layer-store.js';
import { LayerRoot } from '../fixtures/layer-root.js';
import { makeLayerTar } from '../fixtures/layer-tar.js';

/** Pours `blob` when it is let; `pours` counts how often it was asked to. */
class GatedSource {
  pours = 0;
  isEnded = false;
  open: () => void = () => undefined;
  readonly #gate: Promise<void>;
  readonly #blob: Uint8Array;

  constructor(blob: Uint8Array) {
    this.#blob = blob;
    this.#gate = new Promise((resolve) => {
      this.open = resolve;
    });
  }

  readonly pour = async (sink: BlobSink, signal: AbortSignal): Promise<void> => {
    this.pours++;
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
    try {
      await Promise.race([this.#gate, aborted]);
      sink.write(this.#blob);
    } finally {
      this.isEnded = true;
    }
  };
}

describe.each(['image', 'directory'] as const)('a layer begun early in %s form', (layerForm) => {
  let root: LayerRoot;
  let tar: Buffer;
  let blob: Buffer;
  let source: GatedSource;
  beforeEach(async () => {
    root = await LayerRoot.create({ layerForm });
    tar = await makeLayerTar([{ name: 'etc/' }, { name: 'etc/a', content: 'A' }]);
    blob = gzipSync(tar);
    source = new GatedSource(blob);
  });
  afterEach(() => root.remove());

  const options = () => root.ingestOptions(tar, blob);
  const begin = () => root.store.begin({ ...options(), source });
  const leftInIngest = () => readdirSync(root.paths.ingest);
  const until = async (isTime: () => boolean) => {
    while (!isTime()) await delay(2);
  };

  /** An ingest of a layer begun early, whose source is being asked, and how its caller leaves. */
  async function ingestUntilLeft() {
    const leaving = new AbortController();
    const left = root.store.ingest({
      ...options(),
      source: { pour: source.pour, early: begin() },
      signal: leaving.signal,
    });
    await until(() => source.pours > 0);
    return { left, leave: () => leaving.abort(new Error('left')) };
  }

  test('is compared with its diff ID and published when that comes', async () => {
    source.open();
    const early = begin();
    await until(() => source.isEnded);
    expect(leftInIngest()).toEqual([`early-${digestHex(options().digest)}`]);
    const seen: number[] = [];
    const record = await root.store.ingest({
      ...options(),
      source: { pour: source.pour, early },
      onProgress: (bytes) => seen.push(bytes),
    });
    expect(record).toMatchObject({ diffId: options().diffId, entries: 2 });
    expect(seen).toEqual([blob.length]);
    expect(source.pours).toBe(1);
    expect(leftInIngest()).toEqual([]);
    expect(await root.store.verify(record.diffId)).not.toBe('damaged');
  });

  test('is what an ingest waits for that comes before its bytes', async () => {
    const early = begin();
    const ingested = root.store.ingest({ ...options(), source: { pour: source.pour, early } });
    await until(() => source.pours > 0);
    source.open();
    await ingested;
    expect(source.pours).toBe(1);
    expect(root.store.has(options().diffId)).toBe(true);
  });

  test('is refused when its diff ID is another one', async () => {
    source.open();
    const early = begin();
    const diffId: Digest = `sha256:${'0'.repeat(64)}`;
    await expect(
      root.store.ingest({ ...options(), diffId, source: { pour: source.pour, early } }),
    ).rejects.toMatchObject({ code: 'DIFF_ID_MISMATCH' });
    expect(root.store.list()).toEqual([]);
    expect(leftInIngest()).toEqual([]);
  });

  test.each([false, true])(
    'leaves nothing when it is discarded, all there: %s',
    async (isThere) => {
      if (isThere) source.open();
      const early = begin();
      await until(() => (isThere ? source.isEnded : source.pours > 0));
      await early.discard();
      await early.discard();
      expect(source.isEnded).toBe(true);
      expect(leftInIngest()).toEqual([]);
      // Its lock is free again.
      source.open();
      await root.store.ingest({ ...options(), source: { pour: source.pour, early: begin() } });
      expect(leftInIngest()).toEqual([]);
    },
  );

  test('that is discarded at once never begins, or ends', async () => {
    await begin().discard();
    expect(leftInIngest()).toEqual([]);
  });

  test('that fails tells whoever ingests it, and nobody else', async () => {
    const failing = { pour: () => Promise.reject(new Error('connection lost')) };
    await root.store.begin({ ...options(), source: failing }).discard();
    const early = root.store.begin({ ...options(), source: failing });
    await delay(20);
    await expect(
      root.store.ingest({ ...options(), source: { pour: source.pour, early } }),
    ).rejects.toThrow('connection lost');
    expect(leftInIngest()).toEqual([]);
  });

  test('begins once: another one of the same blob is made in the ordinary way', async () => {
    const first = begin();
    await until(() => source.pours > 0);
    const other = new GatedSource(blob);
    other.open();
    const second = root.store.begin({ ...options(), source: other });
    await root.store.ingest({ ...options(), source: { pour: other.pour, early: second } });
    expect(other.pours).toBe(1);
    // The layer is there now: the first one is not needed any more.
    await root.store.ingest({ ...options(), source: { pour: source.pour, early: first } });
    expect(source.isEnded).toBe(true);
    expect(leftInIngest()).toEqual([]);
  });

  test('is discarded by a caller who joins another one, and lives on when its own caller leaves', async () => {
    const { left, leave } = await ingestUntilLeft();
    const elsewhere = root.store.begin({ ...options(), source });
    const joined = root.store.ingest({
      ...options(),
      source: { pour: source.pour, early: elsewhere },
    });
    await delay(10);
    leave();
    await expect(left).rejects.toThrow('left');
    source.open();
    await joined;
    expect(source.pours).toBe(1);
    expect(leftInIngest()).toEqual([]);
  });

  test('ends when all who wait for it leave', async () => {
    const { left, leave } = await ingestUntilLeft();
    leave();
    await expect(left).rejects.toThrow('left');
    await until(() => leftInIngest().length === 0);
    expect(source.isEnded).toBe(true);
    expect(root.store.has(options().diffId)).toBe(false);
  });

  test('of a process that died is removed by the next store, one under way is not', async () => {
    const dead = join(root.paths.ingest, `early-${'a'.repeat(64)}`);
    mkdirSync(dead);
    writeFileSync(join(dead, 'blob'), 'half');
    const early = begin();
    await until(() => source.pours > 0);
    const { config, records } = root;
    const second = await LayerStore.open({ config, records, native: loadNative() });
    expect(leftInIngest()).toEqual([`early-${digestHex(options().digest)}`]);
    await second.close();
    await early.discard();
    expect(leftInIngest()).toEqual([]);
  });
});
