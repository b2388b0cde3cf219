import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { extract, pack } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ArchiveError, findTarFile, readTarIndex } from '../../src/image/tar-index.js';
import { TarWriter } from '../../src/image/tar-writer.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cais-tar-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function index(tar: Uint8Array) {
  const path = join(directory, 'x.tar');
  writeFileSync(path, tar);
  const file = await open(path);
  try {
    return await readTarIndex(file);
  } finally {
    await file.close();
  }
}

interface Entry {
  readonly name: string;
  readonly content?: string;
  readonly linkname?: string;
  readonly type?: 'symlink' | 'link';
  readonly pax?: Record<string, string>;
}

async function tarOf(entries: readonly Entry[]): Promise<Buffer> {
  const tar = pack();
  for (const { name, content = '', ...rest } of entries) tar.entry({ name, ...rest }, content);
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

describe('readTarIndex()', () => {
  it('finds files by normalised names, long ones too', async () => {
    const long = `${'d/'.repeat(100)}${'n'.repeat(200)}`;
    const tar = await tarOf([
      { name: './a/b', content: 'one' },
      { name: '/abs', content: 'two' },
      { name: long, content: 'three' },
      { name: 'a/b', content: 'four' },
    ]);
    const entries = await index(tar);
    const read = (name: string) => {
      const entry = findTarFile(entries, name);
      return entry && tar.toString('utf8', entry.offsetBytes, entry.offsetBytes + entry.sizeBytes);
    };
    expect([read('a/b'), read('abs'), read(`./${long}`), read('absent')]).toEqual([
      'four',
      'two',
      'three',
      undefined,
    ]);
  });

  it('follows links inside the archive, and no further', async () => {
    const entries = await index(
      await tarOf([
        { name: 'one/layer.tar', content: 'x' },
        { name: 'two/layer.tar', type: 'symlink', linkname: '../one/layer.tar' },
        { name: 'hard', type: 'link', linkname: 'one/layer.tar' },
        { name: 'loop', type: 'symlink', linkname: 'loop' },
        { name: 'out', type: 'symlink', linkname: '../../../etc/passwd' },
      ]),
    );
    expect(findTarFile(entries, 'two/layer.tar')).toEqual(findTarFile(entries, 'one/layer.tar'));
    expect(findTarFile(entries, 'hard')).toEqual(findTarFile(entries, 'one/layer.tar'));
    expect(findTarFile(entries, 'loop')).toBeUndefined();
    expect(findTarFile(entries, 'out')).toBeUndefined();
  });

  it('refuses what is no tar, is truncated or lies about its sizes', async () => {
    const good = await tarOf([{ name: 'a', content: 'x'.repeat(2000) }]);
    const huge = Buffer.from(good);
    huge.write('77777777777\0', 124);
    await expect(index(Buffer.alloc(0))).rejects.toThrow('no tar file, or it is truncated');
    await expect(index(Buffer.from('PK'.repeat(600)))).rejects.toThrow('checksum');
    await expect(index(good.subarray(0, 1500))).rejects.toThrow('truncated');
    await expect(index(huge)).rejects.toThrow('checksum');
    await expect(
      index(await tarOf([{ name: 'a', pax: { size: '9007199254740993' } }])),
    ).rejects.toThrow(ArchiveError);
    await expect(
      index(await tarOf([{ name: 'a', pax: { comment: 'x'.repeat(70_000) } }])),
    ).rejects.toThrow('too large');
  });

  it('throws nothing but ArchiveError for damaged archives', async () => {
    const good = await tarOf([
      { name: 'n'.repeat(150), content: 'abc' },
      { name: 'b', pax: { path: 'c' } },
      { name: 's', type: 'symlink', linkname: 'b' },
    ]);
    const damage = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), {
      minLength: 1,
      maxLength: 6,
    });
    await fc.assert(
      fc.asyncProperty(damage, fc.nat(good.length), async (bytes, length) => {
        const tar = Buffer.from(good.subarray(0, length));
        for (const [position, value] of bytes) if (position < length) tar[position] = value;
        await index(tar).catch((error) => expect(error).toBeInstanceOf(ArchiveError));
      }),
      { numRuns: 300 },
    );
  });
});

describe('TarWriter', () => {
  it('writes what other readers and readTarIndex() read', async () => {
    const chunks: Buffer[] = [];
    const tar = new TarWriter(async (bytes) => void chunks.push(Buffer.from(bytes)));
    const files = {
      'oci-layout': 'x',
      [`blobs/sha256/${'a'.repeat(64)}`]: 'y'.repeat(512),
      empty: '',
    };
    for (const [name, content] of Object.entries(files)) await tar.addText(name, content);
    await tar.finish();
    const bytes = Buffer.concat(chunks);
    const reader = extract();
    reader.end(bytes);
    const read: Record<string, string> = {};
    for await (const entry of reader) {
      let content = '';
      for await (const chunk of entry) content += chunk;
      read[entry.header.name] = content;
    }
    expect(read).toEqual(files);
    expect([...(await index(bytes)).keys()]).toEqual(Object.keys(files));
  });

  it('writes sizes above 8 GiB, and refuses content of another length', async () => {
    let header = Buffer.alloc(0);
    const sizeBytes = 20 * 2 ** 30;
    const tar = new TarWriter(async (bytes) => {
      if (header.length === 0) header = Buffer.from(bytes);
    });
    await expect(tar.add('big', { sizeBytes, chunks: [Buffer.from('x')] })).rejects.toThrow(
      `expected ${sizeBytes}`,
    );
    const path = join(directory, 'big.tar');
    writeFileSync(path, header);
    const file = await open(path, 'r+');
    await file.truncate(512 + sizeBytes);
    expect(findTarFile(await readTarIndex(file), 'big')).toEqual({
      kind: 'file',
      offsetBytes: 512,
      sizeBytes,
    });
    await file.close();
  });
});
