import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadConfig, statePaths } from '../../src/config.js';
import type { Digest } from '../../src/digest.js';
import { loadNative } from '../../src/native.js';
import { RecordStore } from '../../src/record-store.js';
import { type IngestOptions, LayerStore } from '../../src/snapshot/layer-store.js';
import { makeLayerTar } from '../fixtures/layer-tar.js';

const digestOf = (bytes: Uint8Array): Digest =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

describe('LayerStore', () => {
  let root: string;
  let records: RecordStore;
  let store: LayerStore;
  const config = () => loadConfig({ root, run: join(root, 'run') });
  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'cais-layers-'));
    records = RecordStore.open(statePaths(config()).meta);
    store = await LayerStore.open({ config: config(), native: loadNative(), records });
  });
  afterEach(async () => {
    await store.close();
    await records.close();
    rmSync(root, { recursive: true, force: true });
  });

  function ingestOf(tar: Buffer): IngestOptions {
    const blob = gzipSync(tar);
    const digest = digestOf(blob);
    return {
      digest,
      sizeBytes: blob.length,
      diffId: digestOf(tar),
      blobPath: join(statePaths(config()).blobs, digest.slice(7)),
      source: {
        async *stream() {
          yield blob;
        },
      },
    };
  }

  test('ingest() stores a layer that descriptor() shows', async () => {
    const layer = ingestOf(await makeLayerTar([{ name: 'etc/' }, { name: 'etc/a', content: 'A' }]));
    const record = await store.ingest(layer);
    expect(record).toMatchObject({ diffId: layer.diffId, form: store.form, entries: 2 });
    const fd = await store.descriptor(layer.diffId);
    expect(readFileSync(`/proc/self/fd/${fd}/etc/a`, 'utf8')).toBe('A');
    expect(await store.verify(layer.diffId)).toBe(
      store.form === 'image' ? 'intact' : 'unverifiable',
    );
  });
});
