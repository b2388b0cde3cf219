import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { expect, onTestFinished, test } from 'vitest';
import {
  buildNativeProgram,
  type NativeProgram,
  TAR_READER_SOURCES,
} from '../fixtures/native-program.js';
import { END, gnuLong, member, padded, pax, rawHeader } from '../fixtures/raw-tar.js';

const run = promisify(execFile);
const DRIVER = 'test/fuzz/mutation_driver.cc';
/** The first build of a program takes a minute on a busy machine. */
const TIMEOUT_MS = 600_000;

const ZSTD_SOURCES = [
  'xxh64',
  'zstd_block',
  'zstd_copy',
  'zstd_fse',
  'zstd_huffman',
  'zstd_reader',
  'zstd_sequences',
  'zstd_stream',
  'zstd_writer',
].map((name) => `native/layer/${name}.cc`);

function tarSeeds(): Buffer[] {
  const octal = (value: number) => `${value.toString(8).padStart(11, '0')}\0`;
  const oldSparse = rawHeader({
    name: 'sparse',
    type: 'S',
    magic: 'gnu',
    size: 4,
    patches: [
      [386, octal(0) + octal(2) + octal(512) + octal(2)],
      [482, '\x01'],
      [483, octal(1024)],
    ],
  });
  const sparse10 = [
    pax([
      ['GNU.sparse.major', '1'],
      ['GNU.sparse.minor', '0'],
      ['GNU.sparse.name', 's'],
      ['GNU.sparse.realsize', '600'],
    ]),
    member({}, Buffer.concat([padded('2\n0\n2\n512\n2\n'), Buffer.from('abcd')])),
  ];
  return [
    [
      member({ name: 'dir/', type: '5' }),
      member({ name: 'dir/file' }, 'some data'),
      rawHeader({ name: 'hard', type: '1', link: 'dir/file' }),
      rawHeader({ name: 'dir/soft', type: '2', link: '../x' }),
      rawHeader({ name: 'device', type: '3', major: '0000001\0', minor: '0000003\0' }),
      rawHeader({ name: 'pipe', type: '6' }),
      rawHeader({ name: 'dir/.wh.gone' }),
      rawHeader({ name: 'b/.wh..wh..opq' }),
    ],
    [
      pax([['uid', '7']], { global: true }),
      pax([
        ['path', 'a/ü'],
        ['mtime', '-1.5'],
        ['size', '3'],
        ['SCHILY.xattr.user.x', 'y'],
        ['LIBARCHIVE.xattr.user.%41', 'AQI'],
        ['SCHILY.xattr.trusted.overlay.opaque', 'y'],
      ]),
      member({}, 'abc'),
      gnuLong('L', 'l'.repeat(300)),
      gnuLong('K', 'k'.repeat(300)),
      rawHeader({ type: '2', magic: 'gnu' }),
    ],
    [oldSparse, Buffer.alloc(512), padded('abcd'), ...sparse10, rawHeader({ name: 'after' })],
    [
      pax([
        ['GNU.sparse.map', '0,2,512,2'],
        ['GNU.sparse.size', '1000'],
      ]),
      member({}, 'abcd'),
      pax([
        ['GNU.sparse.size', '1000'],
        ['GNU.sparse.offset', '0'],
        ['GNU.sparse.numbytes', '4'],
      ]),
      member({ magic: 'v7', name: 'z' }, 'abcd'),
    ],
  ].map((members) => Buffer.concat([...members, END]));
}

function compressedSeeds(): Buffer[] {
  const tar = tarSeeds()[0] as Buffer;
  const zstd = (...options: string[]) =>
    execFileSync('zstd', ['-q', '-c', ...options], { input: tar });
  const gzip = gzipSync(tar);
  const stored = gzipSync(tar, { level: 0 });
  return [
    gzip,
    Buffer.concat([gzip, stored]),
    Buffer.concat([gzip, Buffer.alloc(50)]),
    zstd(),
    zstd('-19', '--check'),
    // Many turns of the ring that is its window.
    zstd('-19', '--zstd=wlog=10'),
    Buffer.concat([zstd(), Buffer.from('532a4d1804000000abcd', 'hex'), zstd('--fast')]),
  ];
}

test.each<[Omit<NativeProgram, 'name'> & { readonly name: string }, () => Buffer[], number]>([
  [
    {
      name: 'tar-reader-fuzz',
      sources: [
        'test/fuzz/tar_reader_fuzz.cc',
        'test/fuzz/recording_end.cc',
        ...TAR_READER_SOURCES,
      ],
    },
    tarSeeds,
    2000,
  ],
  [
    {
      name: 'layer-image-fuzz',
      sources: [
        'test/fuzz/layer_image_fuzz.cc',
        ...TAR_READER_SOURCES,
        ...[
          'erofs_image',
          'erofs_metadata',
          'image_head',
          'image_writer',
          'layer_tree',
          'sha256',
          'sha256_blocks',
          'sparse_plan',
        ].map((name) => `native/layer/${name}.cc`),
      ],
      libraries: ['crypto'],
    },
    tarSeeds,
    2000,
  ],
  [
    {
      name: 'decompress-fuzz',
      sources: [
        'decompress',
        'gzip',
        'inflate',
        'inflate_loop',
        'inflate_tables',
        'own_inflater',
        'piece',
        'piece_ring',
        'zlib_inflater',
      ]
        .map((name) => `native/layer/${name}.cc`)
        .concat(ZSTD_SOURCES, 'test/fuzz/decompress_fuzz.cc'),
      libraries: ['z'],
    },
    compressedSeeds,
    2000,
  ],
])(
  '$name survives mutations of its seeds',
  async (program, seeds, iterations) => {
    const directory = mkdtempSync(join(tmpdir(), 'cais-fuzz-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const files = seeds().map((seed, i) => {
      const file = join(directory, `seed${i}`);
      writeFileSync(file, seed);
      return file;
    });
    const path = await buildNativeProgram({ ...program, sources: [DRIVER, ...program.sources] });
    const { stdout } = await run(path, [String(iterations), '1', ...files], {
      timeout: TIMEOUT_MS,
    });
    expect(stdout).toBe(`${iterations + files.length} runs\n`);
  },
  TIMEOUT_MS,
);

test(
  'inflate-fuzz: our own decoder of gzip does what zlib does',
  async () => {
    const path = await buildNativeProgram({
      name: 'inflate-fuzz',
      sources: [
        ...['inflate', 'inflate_loop', 'inflate_tables', 'own_inflater'].map(
          (name) => `native/layer/${name}.cc`,
        ),
        'test/fuzz/inflate_fuzz.cc',
        'test/fuzz/inflate_driver.cc',
      ],
      libraries: ['z'],
    });
    const { stdout } = await run(path, ['2000', '1'], { timeout: TIMEOUT_MS });
    expect(stdout).toBe('2000 runs\n');
  },
  TIMEOUT_MS,
);

test(
  'zstd-fuzz: our own decoder of zstd does what the library does',
  async () => {
    const path = await buildNativeProgram({
      name: 'zstd-fuzz',
      sources: [
        ...ZSTD_SOURCES,
        'native/layer/piece.cc',
        'native/layer/piece_ring.cc',
        'test/fuzz/zstd_fuzz.cc',
        'test/fuzz/zstd_driver.cc',
      ],
      libraries: ['zstd'],
    });
    const { stdout } = await run(path, ['2000', '1'], { timeout: TIMEOUT_MS });
    expect(stdout).toBe('2000 runs\n');
  },
  TIMEOUT_MS,
);
