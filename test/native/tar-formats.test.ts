import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  ftruncateSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { pack } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  END,
  gnuLong,
  member,
  padded,
  pax,
  type RawHeader,
  rawHeader,
} from '../fixtures/raw-tar.js';
import { contentOf, readTar, type TarEvent } from '../fixtures/tar-events.js';

let root: string;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'cais-tar-'));
});

afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

function gnuTar(directory: string, ...options: string[]): Buffer {
  return execFileSync('tar', ['-C', directory, '--sort=name', '-c', ...options, '.'], {
    maxBuffer: 2 ** 28,
  });
}

function byName(entries: readonly TarEvent[]): Map<string, TarEvent> {
  return new Map(entries.map((entry) => [entry.name, entry]));
}

describe('what GNU tar writes', () => {
  const content = randomBytes(3000);
  let tree: string;

  beforeAll(() => {
    tree = join(root, 'tree');
    mkdirSync(join(tree, 'sub'), { recursive: true });
    writeFileSync(join(tree, 'sub/file'), content, { mode: 0o640 });
    writeFileSync(join(tree, 'empty'), '');
    linkSync(join(tree, 'sub/file'), join(tree, 'sub/hard'));
    symlinkSync('../target', join(tree, 'sub/soft'));
    for (const path of ['sub/file', 'empty', 'sub']) utimesSync(join(tree, path), 1e9, 1e9);
    lutimesSync(join(tree, 'sub/soft'), 1e9, 1e9);
    utimesSync(tree, 1e9, 1e9);
    execFileSync('mkfifo', [join(tree, 'pipe')]);
    execFileSync('mknod', [join(tree, 'device'), 'c', '5', '300']);
  });

  test.each(['oldgnu', 'gnu', 'ustar', 'posix'])('in the format %s', async (format) => {
    const { entries, tarBytes } = await readTar(gnuTar(tree, `--format=${format}`));
    const read = byName(entries);
    expect(tarBytes).toBeGreaterThan(0);
    expect([...read.keys()]).toEqual([
      './',
      './device',
      './empty',
      './pipe',
      './sub/',
      './sub/file',
      './sub/hard',
      './sub/soft',
    ]);
    expect(contentOf(read.get('./sub/file') as TarEvent)).toEqual(content);
    expect(read.get('./sub/file')).toMatchObject({ type: 'file', mode: 0o640, uid: 0, size: 3000 });
    expect(read.get('./sub/file')?.mtime).toEqual(['1000000000', 0]);
    expect(read.get('./sub/')).toMatchObject({ type: 'directory' });
    expect(read.get('./sub/hard')).toMatchObject({ type: 'hardlink', link: './sub/file', size: 0 });
    expect(read.get('./sub/soft')).toMatchObject({ type: 'symlink', link: '../target' });
    expect(read.get('./pipe')).toMatchObject({ type: 'fifo' });
    expect(read.get('./device')).toMatchObject({ type: 'character', device: [5, 300] });
    expect(read.get('./empty')).toMatchObject({ type: 'file', size: 0, data: [] });
  });

  test('in the format v7, which has no devices', async () => {
    const { entries } = await readTar(gnuTar(join(tree, 'sub'), '--format=v7'));
    expect(entries.map(({ name, type }) => [name, type])).toEqual([
      ['./', 'directory'],
      ['./file', 'file'],
      ['./hard', 'hardlink'],
      ['./soft', 'symlink'],
    ]);
  });

  test.each(['gnu', 'posix'])('names and links of thousands of bytes (%s)', async (format) => {
    const long = join(root, `long-${format}`);
    const parts = Array.from({ length: 16 }, (_, i) => `${i}`.padEnd(250, 'n'));
    const deep = parts.join('/');
    mkdirSync(join(long, deep), { recursive: true });
    symlinkSync('t'.repeat(4000), join(long, 'link'));
    const { entries } = await readTar(gnuTar(long, `--format=${format}`));
    const read = byName(entries);
    expect(read.has(`./${deep}/`)).toBe(true);
    expect(read.get('./link')?.link).toBe('t'.repeat(4000));
  });

  test('owners, times and xattrs that only pax can hold', async () => {
    const directory = join(root, 'pax');
    mkdirSync(directory);
    const file = join(directory, 'f');
    writeFileSync(file, '');
    execFileSync('setfattr', ['-n', 'user.note', '-v', '0x00ff0a3d', file]);
    execFileSync('setfattr', ['-n', 'user.empty', file]);
    execFileSync('chown', ['3000000000:4294967294', file]);
    execFileSync('touch', ['-d', '1960-01-01 00:00:00.25 UTC', file]);
    const { entries } = await readTar(gnuTar(directory, '--format=posix', '--xattrs'));
    expect(byName(entries).get('./f')).toMatchObject({
      uid: 3_000_000_000,
      gid: 4_294_967_294,
      mtime: ['-315619200', 250_000_000],
      xattrs: { 'user.note': '\x00\xff\n=', 'user.empty': '' },
    });
  });
});

describe('sparse files', () => {
  let directory: string;
  let many: Buffer;
  let holeAtEnd: Buffer;

  function sparseFile(name: string, size: number, pieces: readonly (readonly [number, Buffer])[]) {
    const path = join(directory, name);
    const fd = openSync(path, 'w');
    ftruncateSync(fd, size);
    for (const [offset, bytes] of pieces) writeSync(fd, bytes, 0, bytes.length, offset);
    closeSync(fd);
    return readFileSync(path);
  }

  beforeAll(() => {
    directory = join(root, 'sparse');
    mkdirSync(directory);
    // More pieces than a header (4) and a block (21) hold.
    many = sparseFile(
      'many',
      4_000_000,
      Array.from({ length: 60 }, (_, i) => [i * 65_536, randomBytes(i === 59 ? 5000 : 4096)]),
    );
    holeAtEnd = sparseFile('hole-at-end', 1_000_000, [[131_072, randomBytes(4096)]]);
    sparseFile('only-hole', 500_000, []);
  });

  test.each([
    ['the old GNU format', ['--format=oldgnu']],
    ['format 0.0', ['--format=posix', '--sparse-version=0.0']],
    ['format 0.1', ['--format=posix', '--sparse-version=0.1']],
    ['format 1.0', ['--format=posix', '--sparse-version=1.0']],
  ])('of GNU tar in %s', async (_, options) => {
    const { entries } = await readTar(gnuTar(directory, '-S', ...options));
    const read = byName(entries);
    expect(contentOf(read.get('./many') as TarEvent).equals(many)).toBe(true);
    expect(read.get('./many')?.data.length).toBeGreaterThan(50);
    expect(contentOf(read.get('./hole-at-end') as TarEvent).equals(holeAtEnd)).toBe(true);
    expect(read.get('./only-hole')).toMatchObject({ type: 'file', size: 500_000, data: [] });
  });

  /** Header of an old GNU sparse file: numbers of the map, size with holes, "goes on". */
  function oldSparse(
    map: readonly (readonly [number, number])[],
    options: RawHeader & { real: number; goesOn?: boolean },
  ) {
    const octal = (value: number) => `${value.toString(8).padStart(11, '0')}\0`;
    return rawHeader({
      name: 's',
      type: 'S',
      magic: 'gnu',
      ...options,
      patches: [
        ...map.map(([offset, length], i): [number, string] => [
          386 + 24 * i,
          octal(offset) + octal(length),
        ]),
        [482, options.goesOn ? '\x01' : '\0'],
        [483, octal(options.real)],
      ],
    });
  }

  function sparse10(map: string, data: Buffer, real: number | string): Buffer {
    return Buffer.concat([
      pax([
        ['GNU.sparse.major', '1'],
        ['GNU.sparse.minor', '0'],
        ['GNU.sparse.name', 's'],
        ['GNU.sparse.realsize', String(real)],
      ]),
      member({ name: 'GNUSparseFile.0/s' }, Buffer.concat([padded(map), data])),
    ]);
  }

  test('adjacent pieces are joined, empty ones dropped', async () => {
    const tar = Buffer.concat([
      sparse10('4\n0\n1\n1\n2\n10\n0\n12\n1\n', Buffer.from('abcd'), 20),
      END,
    ]);
    const { entries } = await readTar(tar);
    expect(entries[0]).toMatchObject({
      name: 's',
      size: 20,
      data: [
        [0, 'abc'],
        [12, 'd'],
      ],
    });
  });

  test.each<[string, () => Buffer, RegExp]>([
    [
      'pieces that overlap',
      () => sparse10('2\n0\n2\n1\n2\n', Buffer.from('abcd'), 9),
      /^BAD_TAR.*overlap/,
    ],
    [
      'a piece outside the file',
      () => sparse10('1\n8\n4\n', Buffer.from('abcd'), 9),
      /^BAD_TAR.*outside/,
    ],
    [
      'more data than stored',
      () => sparse10('1\n0\n9\n', Buffer.from('abcd'), 9),
      /^BAD_TAR.*needs more/,
    ],
    [
      'less data than stored',
      () => sparse10('1\n0\n3\n', Buffer.from('abcd'), 9),
      /^BAD_TAR.*unused/,
    ],
    [
      'sums that overflow',
      () => sparse10('2\n1\n1\n999999999999999999\n999999999999999999\n', Buffer.alloc(1), 9),
      /^BAD_TAR/,
    ],
    [
      'a map that is no number',
      () => sparse10('1\nx\n3\n', Buffer.from('abc'), 9),
      /^BAD_TAR.*malformed/,
    ],
    [
      'a map with empty lines',
      () => sparse10('1\n\n0\n3\n', Buffer.from('abc'), 9),
      /^BAD_TAR.*malformed/,
    ],
    [
      'a number of 19 digits',
      () => sparse10(`1\n${'9'.repeat(19)}\n3\n`, Buffer.from('abc'), 9),
      /^BAD_TAR.*malformed/,
    ],
    [
      '10^9 announced pieces',
      () => sparse10('1000000000\n0\n1\n', Buffer.from('a'), 9),
      /^LIMIT_EXCEEDED.*pieces/,
    ],
    [
      'a map longer than the data',
      () => sparse10(`200\n${'1\n'.repeat(254)}`, Buffer.alloc(0), 9),
      /^BAD_TAR.*longer/,
    ],
    [
      'a version of the future',
      () =>
        Buffer.concat([
          pax([
            ['GNU.sparse.major', '2'],
            ['GNU.sparse.minor', '0'],
            ['GNU.sparse.realsize', '1'],
          ]),
          member({}, 'x'),
        ]),
      /^BAD_TAR.*unknown format/,
    ],
    [
      'no size',
      () =>
        Buffer.concat([
          pax([
            ['GNU.sparse.major', '1'],
            ['GNU.sparse.minor', '0'],
          ]),
          member({}, 'x'),
        ]),
      /^BAD_TAR.*no size/,
    ],
    [
      'half a piece in format 0.1',
      () =>
        Buffer.concat([
          pax([
            ['GNU.sparse.map', '0,1,5'],
            ['GNU.sparse.size', '9'],
          ]),
          member({}, 'x'),
        ]),
      /^BAD_TAR.*middle/,
    ],
    [
      'two offsets in a row in format 0.0',
      () =>
        pax([
          ['GNU.sparse.offset', '0'],
          ['GNU.sparse.offset', '0'],
        ]),
      /^BAD_TAR.*by turns/,
    ],
    [
      'the old format in a ustar header',
      () => oldSparse([], { real: 0, magic: 'ustar' }),
      /^BAD_TAR.*GNU header/,
    ],
    [
      'an old map with other data',
      () => oldSparse([[0, 5]], { real: 5, size: 4 }),
      /^BAD_TAR.*needs more/,
    ],
    [
      'an old map with a bad number',
      () => oldSparse([], { real: 5, size: 4, patches: [[386, 'xyz']] }),
      /^BAD_TAR/,
    ],
  ])('%s: refused', async (_, make, expected) => {
    const reading = await readTar(Buffer.concat([make(), END]));
    expect(`${reading.code}: ${reading.message}`).toMatch(expected);
  });

  test('an old map that goes on for ever ends at the limit of pieces', async () => {
    const extension = Buffer.alloc(512);
    for (let i = 0; i < 21; ++i) extension.write('00000000000\x0000000000000\0', 24 * i);
    extension[504] = 1;
    const blocks = Buffer.alloc(512 * 13_000, extension);
    const tar = Buffer.concat([oldSparse([], { real: 5, goesOn: true }), blocks]);
    const reading = await readTar(tar, { splits: 1 });
    expect(`${reading.code}: ${reading.message}`).toMatch(/^LIMIT_EXCEEDED.*pieces/);
  });
});

test('what tar-stream writes', async () => {
  const stream = pack();
  const name = `${'d/'.repeat(200)}ö`;
  stream.entry({ name, mode: 0o600, mtime: new Date(1e12), uid: 5, gid: 6 }, 'content');
  stream.entry({ name: 'dir', type: 'directory' });
  stream.entry({ name: 'link', type: 'symlink', linkname: 'dir' });
  stream.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
  const { entries } = await readTar(Buffer.concat(chunks));
  expect(entries.map((entry) => entry.type)).toEqual(['file', 'directory', 'symlink']);
  expect(entries[0]).toMatchObject({
    name: Buffer.from(name).toString('latin1'),
    mode: 0o600,
    uid: 5,
    gid: 6,
    size: 7,
    data: [[0, 'content']],
  });
});

test('any sequence of members reads the same however it is cut', async () => {
  const text = fc
    .string({ minLength: 1, maxLength: 300, unit: 'binary-ascii' })
    .map((value) => value.replaceAll('\0', '/'));
  const data = fc.uint8Array({ maxLength: 3000 }).map((bytes) => Buffer.from(bytes));
  const anyMember = fc.oneof(
    fc
      .record({ name: text, content: data })
      .map(({ name, content }) => ({ bytes: member({ name }, content), entries: 1 })),
    fc
      .record({ type: fc.constantFrom('1', '2', '3', '4', '5', '6'), link: text })
      .map((header) => ({ bytes: rawHeader(header), entries: 1 })),
    fc.record({ path: text, content: data }).map(({ path, content }) => ({
      bytes: Buffer.concat([pax([['path', path]]), member({}, content)]),
      entries: 1,
    })),
    text.map((name) => ({
      bytes: Buffer.concat([gnuLong('L', name), rawHeader({ magic: 'gnu' })]),
      entries: 1,
    })),
    text.map((comment) => ({ bytes: pax([['comment', comment]], { global: true }), entries: 0 })),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyMember, { maxLength: 12 }),
      fc.nat(1500),
      async (members, tail) => {
        const tar = Buffer.concat([...members.map(({ bytes }) => bytes), END, Buffer.alloc(tail)]);
        const { entries, tarBytes, message } = await readTar(tar, { splits: 25 });
        expect(message).toBeUndefined();
        expect(tarBytes).toBe(tar.length);
        expect(entries).toHaveLength(members.reduce((sum, each) => sum + each.entries, 0));
      },
    ),
    { numRuns: 60 },
  );
});
