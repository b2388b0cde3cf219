import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digestOf } from '../../src/digest.js';
import { failureOf, TestJob } from '../fixtures/layer-job.js';
import { END, member } from '../fixtures/raw-tar.js';
import { skippableFrame, zstd } from '../fixtures/zstd.js';

let root: string;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'cais-layer-job-'));
});

afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

const random = randomBytes(300_000);
// Bigger than some pieces of the pipeline, with parts that compress well and parts that do not.
const tar = Buffer.concat([
  member({ name: 'random' }, random),
  member({ name: 'zeros' }, Buffer.alloc(2_000_000)),
  member({ name: 'dir/', type: '5' }),
  member({ name: 'dir/text' }, 'text'),
  END,
]);

/** As gzip(1) writes it for a named file, and with a comment. RFC 1952, 2.3. */
function gzipWithHeader(bytes: Uint8Array): Buffer {
  const plain = gzipSync(bytes);
  const [fileName, comment] = [0x08, 0x10];
  const head = Buffer.from(plain.subarray(0, 10));
  head[3] = fileName | comment;
  return Buffer.concat([head, Buffer.from('layer.tar\0a comment\0'), plain.subarray(10)]);
}

describe('a bad layer', () => {
  const gzip = gzipSync(tar);
  const flipped = Buffer.from(gzip);
  flipped[gzip.length - 6] = (flipped[gzip.length - 6] ?? 0) ^ 1;
  const brokenZstd = zstd(tar, '--check');
  brokenZstd[brokenZstd.length - 1] = (brokenZstd.at(-1) ?? 0) ^ 1;
  const zeros = Buffer.alloc(2 ** 20);
  const digest = digestOf('other');

  test.each<[string, Buffer, ConstructorParameters<typeof TestJob>[1], RegExp]>([
    ['wrong digest', gzip, { expectedDigest: digest }, /^DIGEST_MISMATCH: .*expected sha256:/],
    [
      'fewer bytes than announced',
      gzip,
      { expectedSizeBytes: gzip.length + 1 },
      /^SIZE_MISMATCH: .*were announced/,
    ],
    [
      'more bytes than announced',
      gzip,
      { expectedSizeBytes: 10 },
      /^SIZE_MISMATCH: .*more bytes than the 10/,
    ],
    ['wrong diff ID', gzip, { expectedDiffId: digest }, /^DIFF_ID_MISMATCH: /],
    ['wrong diff ID without compression', tar, { expectedDiffId: digest }, /^DIFF_ID_MISMATCH: /],
    ['gzip cut off', gzip.subarray(0, -1), {}, /^TRUNCATED: The gzip stream/],
    ['gzip cut off in the header', gzip.subarray(0, 5), {}, /^TRUNCATED: The gzip stream/],
    [
      'gzip followed by garbage',
      Buffer.concat([gzip, Buffer.from('garbage')]),
      {},
      /^TRAILING_DATA: /,
    ],
    [
      'gzip followed by zeros and garbage',
      Buffer.concat([gzip, zeros, Buffer.from('g')]),
      {},
      /^TRAILING_DATA: /,
    ],
    [
      'gzip followed by something like a member',
      Buffer.concat([gzip, Buffer.from('1f8b09000000', 'hex')]),
      {},
      /^TRAILING_DATA: /,
    ],
    [
      'gzip followed by a cut member',
      Buffer.concat([gzip, gzip.subarray(0, 4)]),
      {},
      /^TRUNCATED: /,
    ],
    ['gzip with a wrong check sum', flipped, {}, /^BAD_COMPRESSION: .*incorrect data check/],
    ['zstd cut off', zstd(tar).subarray(0, -1), {}, /^TRUNCATED: The zstd stream/],
    [
      'zstd followed by garbage',
      Buffer.concat([zstd(tar), Buffer.from('garbage')]),
      {},
      /^TRAILING_DATA: /,
    ],
    [
      'zstd followed by zeros',
      Buffer.concat([zstd(tar), Buffer.alloc(10)]),
      {},
      /^TRAILING_DATA: /,
    ],
    [
      'zstd with a cut skippable frame',
      Buffer.concat([zstd(tar), skippableFrame('last').subarray(0, 9)]),
      {},
      /^TRUNCATED: /,
    ],
    ['zstd with a wrong check sum', brokenZstd, {}, /^BAD_COMPRESSION: .*check sum/],
    ['zstd with a window of 256 MiB', zstd(tar, '--long=28'), {}, /^LIMIT_EXCEEDED: .*128 MiB/],
    [
      'a tar cut off in gzip',
      gzipSync(tar.subarray(0, 1000)),
      {},
      /^TRUNCATED: The tar ends early/,
    ],
    ['no tar', gzipSync(randomBytes(1000)), {}, /^BAD_TAR: /],
    [
      'bzip2',
      Buffer.concat([Buffer.from('BZh91AY&SY'), zeros]),
      {},
      /^BAD_COMPRESSION: .*bzip2.*not|only gzip/,
    ],
    [
      'xz',
      Buffer.concat([Buffer.from('fd377a585a0000', 'hex'), zeros]),
      {},
      /^BAD_COMPRESSION: .*xz/,
    ],
    [
      'more entries than the limit',
      tar,
      { limits: { maxEntries: 3 } as never },
      /^LIMIT_EXCEEDED: .*maxEntries/,
    ],
    [
      'more tar than the limit',
      gzip,
      { limits: { maxTarBytes: 100_000 } as never },
      /^LIMIT_EXCEEDED: .*maxTarBytes/,
    ],
    [
      'a reserve that the disk does not have',
      gzip,
      { limits: { reserveBytes: 2 ** 50 } as never },
      /^ENOSPC: /,
    ],
    [
      'a reserve that the disk does not have, without blob',
      gzip,
      { saveBlob: false, limits: { reserveBytes: 2 ** 50 } as never },
      /^ENOSPC: /,
    ],
  ])('%s', async (_, blob, options, expected) => {
    // Both libraries for gzip find the same faults.
    for (const gzipLibrary of ['own', 'zlib'] as const) {
      const job = new TestJob(root, { ...options, gzipLibrary });
      expect(await failureOf(job.run(blob))).toMatch(expected);
      expect(await failureOf(job.job.failed)).toMatch(expected);
    }
  });

  test('a tar whose first name looks like bzip2 is a tar', async () => {
    const blob = Buffer.concat([member({ name: 'BZh9' }, 'x'), END]);
    expect(await new TestJob(root).run(blob)).toMatchObject({ compression: 'none', entries: 1 });
  });

  test('a bomb ends at the limit, long before it is unpacked', async () => {
    const layer = Buffer.concat([member({ name: 'f', size: 2 ** 32 }), Buffer.alloc(2 ** 25)]);
    const frame = zstd(Buffer.alloc(2 ** 27));
    const bomb = Buffer.concat([zstd(layer), ...Array.from({ length: 400 }, () => frame)]);
    const job = new TestJob(root, { limits: { maxTarBytes: 2 ** 27 } as never });
    expect(await failureOf(job.run(bomb))).toMatch(/^LIMIT_EXCEEDED: .*maxTarBytes/);
  });
});

describe('a layer whose diff ID is known', () => {
  const expectedDiffId = digestOf(tar);
  const libraries = ['own', 'zlib'] as const;

  // A gzip stream with a name and a comment in its header, of two members, padded.
  const half = tar.length >> 1;
  const members = Buffer.concat([
    gzipWithHeader(tar.subarray(0, half)),
    gzipSync(tar.subarray(half)),
    Buffer.alloc(512),
  ]);

  test.each([1, 7, 8, 9, 1000, 100_000])('comes in chunks of %i bytes', async (chunkBytes) => {
    const blob = chunkBytes < 100 ? members.subarray(-2000 - 512) : members;
    // The smallest chunks are for the end of the last member only: all of it would take too long.
    const split = members.length - blob.length;
    for (const gzipLibrary of libraries) {
      const { job, run } = jobOf(gzipLibrary);
      if (split > 0) job.write(members.subarray(0, split));
      expect(await run(blob, chunkBytes)).toMatchObject({ diffId: expectedDiffId, entries: 4 });
    }
  });

  const wrongSum = Buffer.from(members);
  const sumAt = members.length - 512 - 8;
  wrongSum[sumAt] = (wrongSum[sumAt] ?? 0) ^ 1;
  const wrongZstd = zstd(tar, '--check');
  wrongZstd[wrongZstd.length - 1] = (wrongZstd.at(-1) ?? 0) ^ 1;

  test('needs no other check sum', async () => {
    expect(await jobOf('own').run(wrongZstd)).toMatchObject({ diffId: expectedDiffId });
    expect(await jobOf('own').run(wrongSum)).toMatchObject({ diffId: expectedDiffId });
    // The length costs nothing.
    const wrongLength = Buffer.from(members);
    const lengthAt = sumAt + 4;
    wrongLength[lengthAt] = (wrongLength[lengthAt] ?? 0) ^ 1;
    expect(await failureOf(jobOf('own').run(wrongLength))).toBe(
      'BAD_COMPRESSION: Cannot decompress gzip: incorrect length check',
    );
  });

  test.each<[string, Buffer, RegExp]>([
    ['gzip cut off', gzipSync(tar).subarray(0, -1), /^TRUNCATED: The gzip stream/],
    ['gzip cut off before its check sum', gzipSync(tar).subarray(0, -8), /^TRUNCATED: /],
    ['gzip cut off in the header', gzipSync(tar).subarray(0, 5), /^TRUNCATED: /],
    ['gzip followed by garbage', Buffer.concat([members, Buffer.from('g')]), /^TRAILING_DATA: /],
    ['zstd cut off', zstd(tar).subarray(0, -1), /^TRUNCATED: The zstd stream/],
    ['other content', gzipSync(Buffer.concat([tar, END])), /^DIFF_ID_MISMATCH: /],
  ])('and which is bad: %s', async (_, blob, expected) => {
    for (const gzipLibrary of libraries) {
      expect(await failureOf(jobOf(gzipLibrary).run(blob))).toMatch(expected);
    }
  });

  function jobOf(gzipLibrary: 'own' | 'zlib') {
    const job = new TestJob(root, { expectedDiffId, gzipLibrary });
    return { job: job.job, run: job.run.bind(job) };
  }
});

describe('a full disk', () => {
  test.skipIf(process.getuid?.() !== 0)('is ENOSPC, and names what was written', async () => {
    const disk = join(root, 'disk');
    mkdirSync(disk);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk]);
    try {
      const blob = Buffer.concat([member({ name: 'f' }, randomBytes(2 ** 22)), END]);
      expect(await failureOf(new TestJob(disk).run(blob))).toMatch(
        /^ENOSPC: Cannot .*No space left/,
      );
      for (const form of ['image', 'directory'] as const) {
        rmSync(join(disk, readdirSync(disk)[0] as string), { recursive: true });
        const job = new TestJob(disk, { form, saveBlob: false });
        expect(await failureOf(job.run(gzipSync(blob)))).toMatch(/^ENOSPC: Cannot /);
        expect(existsSync(join(job.directory, 'blob'))).toBe(false);
      }
    } finally {
      execFileSync('umount', [disk]);
    }
  });
});
