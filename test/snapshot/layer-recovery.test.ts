import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Digest, digestHex } from '../../src/digest.js';
import { NativeError } from '../../src/errors.js';
import { type LayerForm, loadNative } from '../../src/native.js';
import {
  LAYER_FORMAT_VERSION,
  type LayerRecord,
  type MendRecord,
} from '../../src/snapshot/layer-record.js';
import { LayerRoot, sha256Of } from '../fixtures/layer-root.js';
import { makeLayerTar } from '../fixtures/layer-tar.js';

/** Where the tar starts in an image, and the size of its head. */
const TAR_OFFSET = 4096;

describe('a layer image that changed on the disk', () => {
  let root: LayerRoot;
  let tar: Buffer;
  let diffId: Digest;
  let path: string;
  let written: Buffer;
  beforeEach(async () => {
    root = await LayerRoot.create({ layerForm: 'image' });
    tar = await makeLayerTar([
      { name: 'etc/', xattrs: { 'user.note': 'text' } },
      { name: 'etc/a', content: 'A'.repeat(10_000) },
      { name: 'etc/link', type: 'symlink', linkname: 'l'.repeat(600) },
    ]);
    diffId = await root.ingest(tar);
    path = join(root.paths.layers, digestHex(diffId));
    written = readFileSync(path);
  });
  afterEach(() => root.remove());

  const tarEnd = () => TAR_OFFSET + tar.length;
  const metadataStart = () => Math.ceil(tarEnd() / 4096) * 4096;
  const flipped = (offset: number) => {
    const bytes = Buffer.from(written);
    bytes[offset] = (bytes[offset] ?? 0) ^ 0x10;
    return bytes;
  };
  const zeroedPage = (offset: number) => {
    const bytes = Buffer.from(written);
    return bytes.fill(0, offset, offset + 4096);
  };

  const damages: [string, () => Buffer][] = [
    ['a bit of the name of its format', () => flipped(3)],
    ['a bit of the version of its format', () => flipped('cais-layer-'.length)],
    ['a bit of the length of its tar', () => flipped(16)],
    ['a bit of its number of entries', () => flipped(25)],
    ['a bit of the place of its metadata', () => flipped(33)],
    ['a bit of the length of its metadata', () => flipped(41)],
    ['a bit of its checksum', () => flipped(50)],
    ['a bit of the free part of its head', () => flipped(700)],
    ['a bit of the superblock', () => flipped(1024 + 14)],
    ['a bit behind the superblock', () => flipped(4000)],
    ['a bit of a header of its tar', () => flipped(TAR_OFFSET + 10)],
    ['a bit of the data of a file', () => flipped(TAR_OFFSET + 3000)],
    ['a bit of the padding behind its tar', () => flipped(tarEnd())],
    ['a bit of the root inode', () => flipped(metadataStart() + 4)],
    ['its last bit', () => flipped(written.length - 1)],
    ['its head to zeros', () => zeroedPage(0)],
    ['a page of its tar to zeros', () => zeroedPage(TAR_OFFSET + 4096)],
    ['the first page of its metadata to zeros', () => zeroedPage(metadataStart())],
    ['its last page to zeros', () => zeroedPage(written.length - 4096)],
    ['its length by a byte', () => written.subarray(0, -1)],
    ['its length by a page', () => written.subarray(0, -4096)],
    ['its length to its tar', () => written.subarray(0, tarEnd())],
    ['its length to half a head', () => written.subarray(0, 2000)],
    ['its length to nothing', () => Buffer.alloc(0)],
    ['its length by more zeros', () => Buffer.concat([written, Buffer.alloc(4096)])],
  ];

  test.each(damages)('verify() finds a change of %s', async (_, damage) => {
    const bytes = damage();
    expect(bytes.equals(written)).toBe(false);
    writeFileSync(path, bytes);
    expect(await root.store.verify(diffId)).toBe('damaged');
    writeFileSync(path, written);
    expect(await root.store.verify(diffId)).toBe('intact');
  });

  test('digestLayerImage() says what is wrong, and with which file', async () => {
    const failure = async (bytes: Buffer) => {
      writeFileSync(path, bytes);
      const error = await loadNative()
        .digestLayerImage(path)
        .catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(NativeError);
      expect((error as NativeError).message).toContain(`"${path}"`);
      return `${(error as NativeError).code}: ${(error as NativeError).message}`;
    };
    expect(await failure(flipped(metadataStart() + 40))).toMatch(/^BAD_LAYER: .*damaged.*checksum/);
    expect(await failure(written.subarray(0, -4096))).toMatch(/^BAD_LAYER: .*cut off/);
    expect(await failure(zeroedPage(0))).toMatch(/^BAD_LAYER: .*no file of cais/);
    const older = Buffer.from(written);
    older.write('cais-layer-1');
    expect(await failure(older)).toMatch(
      /^BAD_LAYER: .*format "cais-layer-1".*reads "cais-layer-2".*made again/,
    );
    // A tar has no checksum but the diff ID, which the caller compares.
    writeFileSync(path, flipped(TAR_OFFSET + 3000));
    const changed = flipped(TAR_OFFSET + 3000).subarray(TAR_OFFSET, tarEnd());
    expect(await loadNative().digestLayerImage(path)).toBe(sha256Of(changed));
  });

  test('open() after a power loss makes it again from its blob, whichever page was lost', async () => {
    const records = root.records.collection<LayerRecord>('layers');
    for (let page = 0; page < written.length; page += 4096) {
      await root.store.close();
      const before = records.get(diffId) as LayerRecord;
      writeFileSync(path, zeroedPage(page));
      await records.put(diffId, { ...before, synced: false, bootId: 'another boot' });
      await root.open();
      expect(root.store.get(diffId)?.generation).not.toBe(before.generation);
      expect(readFileSync(path).equals(written)).toBe(true);
    }
  });

  test('a mending layer that had not reached the disk is made again', async () => {
    const top = await root.ingest(await makeLayerTar([{ name: 'etc/f', content: 'x' }]));
    const made = await root.store.mend([diffId, top]);
    const seen = await root.readChain([diffId, top]);
    await root.store.close();
    const mends = root.records.collection<MendRecord>('mends');
    await mends.put(made.id, { ...made, synced: false, bootId: 'another boot' });
    const file = join(root.paths.mends, digestHex(made.id));
    truncateSync(file, statSync(file).size - 4096);
    await root.open();
    expect(existsSync(file)).toBe(false);
    expect(await root.readChain([diffId, top])).toEqual(seen);
    expect((await root.store.mend([diffId, top])).generation).not.toBe(made.generation);
  });
});

describe.each(['image', 'directory'] as const)('a stored layer in %s form', (form: LayerForm) => {
  let root: LayerRoot;
  beforeEach(async () => {
    root = await LayerRoot.create({ layerForm: form });
  });
  afterEach(() => root.remove());

  const records = () => root.records.collection<LayerRecord>('layers');
  async function storeInOldFormat(tar: Buffer): Promise<LayerRecord> {
    const record = await root.store.ingest(root.ingestOptions(tar));
    await root.store.close();
    const old = { ...record, synced: true, formatVersion: LAYER_FORMAT_VERSION - 1 };
    await records().put(record.diffId, old);
    return old;
  }

  test('of another format version is made again from its blob by open()', async () => {
    const old = await storeInOldFormat(await makeLayerTar([{ name: 'a', content: 'A' }]));
    await root.open();
    expect(root.store.get(old.diffId)).toMatchObject({ formatVersion: LAYER_FORMAT_VERSION });
    expect(root.store.get(old.diffId)?.generation).not.toBe(old.generation);
    expect((await root.readLayer(old.diffId)).get('a')).toMatchObject({ sizeBytes: 1 });
  });

  test('of another format version and without blob is forgotten by open()', async () => {
    const old = await storeInOldFormat(await makeLayerTar([{ name: 'a', content: 'A' }]));
    rmSync(old.blobPath);
    await root.open();
    expect(root.store.list()).toEqual([]);
    expect(readdirSync(root.paths.layers)).toEqual([]);
    await expect(root.store.descriptor(old.diffId)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});
