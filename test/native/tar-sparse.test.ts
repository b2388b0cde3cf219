import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { END, member, padded, pax, type RawHeader, rawHeader } from '../fixtures/raw-tar.js';
import {
  BUILD_TIMEOUT_MS,
  buildTarEvents,
  contentOf,
  readTar,
  type TarEvent,
} from '../fixtures/tar-events.js';

beforeAll(async () => {
  await buildTarEvents();
}, BUILD_TIMEOUT_MS);

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
    directory = mkdtempSync(join(tmpdir(), 'cais-sparse-'));
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
    const tar = execFileSync('tar', ['-C', directory, '-cS', ...options, '.']);
    const { entries } = await readTar(tar);
    const read = new Map(entries.map((entry) => [entry.name, entry]));
    expect(contentOf(read.get('./many') as TarEvent).equals(many)).toBe(true);
    expect(read.get('./many')?.data.length).toBeGreaterThan(50);
    expect(contentOf(read.get('./hole-at-end') as TarEvent).equals(holeAtEnd)).toBe(true);
    expect(read.get('./only-hole')).toMatchObject({ type: 'file', size: 500_000, data: [] });
  });

  afterAll(() => {
    rmSync(directory, { recursive: true, force: true });
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
