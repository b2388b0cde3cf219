import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { CollectableLayers } from '../../src/image/collect.js';
import type { LayerBytes, LayerCache, LayerIngest } from '../../src/image/unpack.js';
import type { BlobSink } from '../../src/registry/blob-sink.js';
import { sha256Of } from '../fixtures/layer-root.js';
import { makeLayerTar } from '../fixtures/layer-tar.js';

/** A layer store as the image service sees it, a directory for blobs, and its end. */
export interface LayerCacheRig {
  readonly cache: LayerCache & CollectableLayers;
  readonly directory: string;
  close(): Promise<void>;
}

/** What every layer store does for the image service, whether it makes file systems or not. */
export function describeLayerCache(title: string, openRig: () => Promise<LayerCacheRig>): void {
  describe(title, () => {
    let rig: LayerCacheRig;
    let tar: Buffer;
    let blob: Buffer;
    let pours: number;
    beforeEach(async () => {
      rig = await openRig();
      tar = await makeLayerTar([{ name: 'etc/' }, { name: 'etc/a', content: 'A' }]);
      blob = gzipSync(tar);
      pours = 0;
    });
    afterEach(() => rig.close());

    const pour = async (sink: BlobSink) => {
      pours++;
      sink.write(blob.subarray(0, 10));
      sink.write(blob.subarray(10));
    };
    /** Fails when it is told to stop, and does nothing before. */
    const neverPour = (_sink: BlobSink, signal: AbortSignal) => {
      pours++;
      return new Promise<never>((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      });
    };
    const request = (changes: Partial<LayerIngest> = {}): LayerIngest => ({
      digest: sha256Of(blob),
      sizeBytes: blob.byteLength,
      diffId: sha256Of(tar),
      blobPath: join(rig.directory, 'blobs', sha256Of(blob).slice('sha256:'.length)),
      source: { pour },
      signal: new AbortController().signal,
      onProgress: () => undefined,
      ...changes,
    });
    const diffIds = () => [...rig.cache.list()].map(({ diffId }) => diffId);
    const expectStored = () => {
      expect(rig.cache.has(sha256Of(tar))).toBe(true);
      expect(diffIds()).toEqual([sha256Of(tar)]);
      expect(readFileSync(request().blobPath).equals(blob)).toBe(true);
    };
    const expectNothing = () => {
      expect(rig.cache.has(sha256Of(tar))).toBe(false);
      expect(diffIds()).toEqual([]);
      expect(existsSync(request().blobPath)).toBe(false);
    };

    test('stores what is poured, and says how much has come', async () => {
      const seen: number[] = [];
      await rig.cache.ingest(request({ onProgress: (bytes) => seen.push(bytes) }));
      expectStored();
      expect(seen.at(-1)).toBe(blob.byteLength);
      expect(seen).toEqual([...seen].sort((a, b) => a - b));
    });

    test('stores what is in a file', async () => {
      const path = join(rig.directory, 'source');
      writeFileSync(path, blob);
      await rig.cache.ingest(request({ source: { openFile: () => open(path) } }));
      expectStored();
    });

    test('asks for no bytes when it has layer and blob', async () => {
      await rig.cache.ingest(request());
      await rig.cache.ingest(request());
      expect(pours).toBe(1);
      expectStored();
    });

    test('makes a layer again from its blob, once that is all it has', async () => {
      await rig.cache.ingest(request());
      await rig.cache.remove(sha256Of(tar));
      expect(rig.cache.has(sha256Of(tar))).toBe(false);
      expect(diffIds()).toEqual([]);
      await rig.cache.ingest(request());
      expect(pours).toBe(1);
      expectStored();
    });

    test('does not believe a blob that is damaged', async () => {
      const { blobPath } = request();
      mkdirSync(dirname(blobPath), { recursive: true });
      writeFileSync(
        blobPath,
        blob.map((byte, i) => (i === 20 ? byte ^ 1 : byte)),
      );
      await rig.cache.ingest(request());
      expect(pours).toBe(1);
      expectStored();
    });

    test.each([
      ['SIZE_MISMATCH', () => ({ sizeBytes: blob.byteLength + 1 })],
      ['DIGEST_MISMATCH', () => ({ digest: sha256Of(tar) })],
      ['DIFF_ID_MISMATCH', () => ({ diffId: sha256Of(blob) })],
    ])('refuses a layer with %s, and keeps nothing of it', async (code, changes) => {
      await expect(rig.cache.ingest(request(changes()))).rejects.toMatchObject({ code });
      expectNothing();
      await rig.cache.ingest(request());
      expectStored();
    });

    test('says what its source says, and keeps nothing', async () => {
      const source: LayerBytes = { pour: () => Promise.reject(new Error('cut off')) };
      await expect(rig.cache.ingest(request({ source }))).rejects.toThrow('cut off');
      expectNothing();
    });

    test('ends when its caller leaves', async () => {
      const leaving = new AbortController();
      const ingested = rig.cache.ingest(
        request({ source: { pour: neverPour }, signal: leaving.signal }),
      );
      const left = expect(ingested).rejects.toThrow('left');
      await expect.poll(() => pours).toBe(1);
      leaving.abort(new Error('left'));
      await left;
      expectNothing();
    });

    test('takes a layer that was begun early, and asks for its bytes once', async () => {
      const early = rig.cache.begin(request());
      await rig.cache.ingest(request({ source: { pour, early } }));
      expect(pours).toBe(1);
      expectStored();
      await early.discard();
      expectStored();
    });

    test('refuses a layer that was begun early when its diff ID is another one', async () => {
      const early = rig.cache.begin(request());
      await expect(
        rig.cache.ingest(request({ source: { pour, early }, diffId: sha256Of(blob) })),
      ).rejects.toMatchObject({ code: 'DIFF_ID_MISMATCH' });
      expectNothing();
    });

    test('keeps nothing of a layer that was begun early and is not needed', async () => {
      const waiting = rig.cache.begin(request({ source: { pour: neverPour } }));
      await expect.poll(() => pours).toBe(1);
      await waiting.discard();
      await waiting.discard();
      expectNothing();

      const ready = rig.cache.begin(request());
      await expect.poll(() => pours).toBe(2);
      await ready.discard();
      expectNothing();
    });

    test('removes a layer that is not there', async () => {
      await rig.cache.remove(sha256Of(tar));
      expectNothing();
    });
  });
}
