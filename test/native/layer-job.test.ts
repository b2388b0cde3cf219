import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digestOf } from '../../src/digest.js';
import { loadNative } from '../../src/native.js';
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
const half = 250_000;

const forms: readonly [string, Buffer, string][] = [
  ['no compression', tar, 'none'],
  ['gzip', gzipSync(tar), 'gzip'],
  [
    'gzip of several members, one empty',
    Buffer.concat(
      [tar.subarray(0, half), Buffer.alloc(0), tar.subarray(half)].map((part) => gzipSync(part)),
    ),
    'gzip',
  ],
  ['gzip followed by zeros', Buffer.concat([gzipSync(tar), Buffer.alloc(3000)]), 'gzip'],
  ['zstd', zstd(tar), 'zstd'],
  ['zstd with a checksum at level 19', zstd(tar, '-19', '--check'), 'zstd'],
  [
    'zstd of several frames',
    Buffer.concat([zstd(tar.subarray(0, half)), zstd(Buffer.alloc(0)), zstd(tar.subarray(half))]),
    'zstd',
  ],
  [
    'zstd with skippable frames',
    Buffer.concat([skippableFrame('first'), zstd(tar), skippableFrame(''), skippableFrame('last')]),
    'zstd',
  ],
  ['zstd with a window of 128 MiB', zstd(tar, '--long=27'), 'zstd'],
];

describe('zstd that looks back across the end of the memory that it is decompressed into', () => {
  // What comes again after a distance just within the window, and longer than all memory.
  const repeated = (distance: number) => {
    const part = randomBytes(distance);
    return Buffer.concat(Array.from({ length: Math.ceil(24_000_000 / distance) }, () => part));
  };
  test.each([
    ['1 KiB', 10, 1000],
    ['128 KiB', 17, 130_000],
    ['2 MiB', 21, 2_000_000],
    ['2 MiB, to its last byte', 21, 2_097_151],
    ['8 MiB', 23, 8_300_000],
  ])('a window of %s', async (_window, windowLog, distance) => {
    const large = Buffer.concat([member({ name: 'a' }, repeated(distance)), END]);
    const blob = zstd(large, '-5', `--zstd=wlog=${windowLog},hlog=22,clog=22`);
    // That it is looked back so far at all.
    expect(blob.length).toBeLessThan(large.length / 2);
    const { job } = new TestJob(root, { expectedDiffId: digestOf(large) });
    for (let at = 0; at < blob.length; at += 77_777) job.write(blob.subarray(at, at + 77_777));
    expect(await job.finish()).toMatchObject({ tarBytes: large.length });
  });
});

// Whatever a machine has to inflate gzip with, the layer is the same.
const cases = forms.flatMap(([name, blob, compression]) =>
  (['own', 'zlib'] as const)
    .filter((library) => library === 'own' || compression === 'gzip')
    .map((library) => ({ name, blob, compression, gzipLibrary: library })),
);

describe.each(cases)('a layer in $name ($gzipLibrary)', ({ blob, compression, gzipLibrary }) => {
  const expected = {
    digest: digestOf(blob),
    sizeBytes: blob.length,
    diffId: digestOf(tar),
    tarBytes: tar.length,
    compression,
    entries: 4,
  };

  test('written in chunks', async () => {
    const job = new TestJob(root, { gzipLibrary });
    // The head of a compressed stream byte by byte.
    for (let at = 0; at < 40; at++) job.job.write(blob.subarray(at, at + 1));
    expect(await job.run(blob.subarray(40), 10_007)).toMatchObject(expected);
    await job.job.failed;
    expect(readFileSync(join(job.directory, 'blob')).equals(blob)).toBe(true);
    const layer = join(job.directory, 'layer');
    expect(await loadNative().digestLayerImage(layer)).toBe(expected.diffId);
    expect(readdirSync(job.directory).sort()).toEqual(['blob', 'layer']);
  });

  test('read from a file, as directory', async () => {
    const file = join(root, 'blob-of-test');
    writeFileSync(file, blob);
    const fd = openSync(file, 'r');
    try {
      const job = new TestJob(root, { form: 'directory', saveBlob: false, gzipLibrary });
      job.job.readFrom(fd);
      expect(await job.job.finish()).toMatchObject(expected);
      expect(readdirSync(job.directory)).toEqual(['layer']);
      expect(readFileSync(join(job.directory, 'layer/random')).equals(random)).toBe(true);
      expect(readFileSync(join(job.directory, 'layer/dir/text'), 'utf8')).toBe('text');
    } finally {
      closeSync(fd);
    }
  });
});

test('gzip with a name, a comment and extra fields in its head, whichever library inflates it', async () => {
  const plain = gzipSync(tar);
  const head = Buffer.from(plain.subarray(0, 10));
  head[3] = 4 | 8 | 16;
  const extra = Buffer.concat([Buffer.from([0xe8, 3]), Buffer.alloc(1000, 7)]);
  const text = Buffer.from('name\0comment\0');
  const blob = Buffer.concat([head, extra, text, plain.subarray(10)]);
  for (const gzipLibrary of ['own', 'zlib'] as const) {
    const job = new TestJob(root, { gzipLibrary });
    expect(await job.run(blob, 13)).toMatchObject({ diffId: digestOf(tar) });
  }
});

test('all expectations are met: the job succeeds', async () => {
  const blob = gzipSync(tar);
  const expectations = {
    expectedDigest: digestOf(blob),
    expectedSizeBytes: blob.length,
    expectedDiffId: digestOf(tar),
  };
  expect(await new TestJob(root, expectations).run(blob)).toMatchObject({ entries: 4 });
});

describe('a diff ID that follows', () => {
  const other = digestOf(Buffer.from('other'));
  const written = (blob: Buffer, job = new TestJob(root, { diffIdFollows: true })) => {
    job.job.write(blob);
    return job;
  };

  test.each(['gzip', 'none'])('is compared when the job is finished (%s)', async (compression) => {
    const blob = compression === 'gzip' ? gzipSync(tar) : tar;
    expect(await written(blob).job.finish(digestOf(tar))).toMatchObject({ entries: 4 });
    expect(await failureOf(written(blob).job.finish(other))).toMatch(
      new RegExp(`^DIFF_ID_MISMATCH: .*${digestOf(tar)}, expected the diff ID ${other}`),
    );
    expect(await failureOf(written(blob).job.finish())).toMatch(/^DIFF_ID_MISMATCH: .*nobody said/);
  });

  test('is a string', async () => {
    const { job } = written(gzipSync(tar));
    expect(() => job.finish(5 as unknown as string)).toThrow(TypeError);
    expect(await job.finish(digestOf(tar))).toMatchObject({ entries: 4 });
  });

  test('cannot follow a file', async () => {
    const path = join(root, 'blob');
    writeFileSync(path, gzipSync(tar));
    const fd = openSync(path, 'r');
    try {
      const { job } = new TestJob(root, { diffIdFollows: true });
      job.readFrom(fd);
      expect(await failureOf(job.failed)).toMatch(/^DIFF_ID_MISMATCH: /);
      await failureOf(job.finish(digestOf(tar)));
    } finally {
      closeSync(fd);
    }
  });
});

test('an empty blob is an empty layer', async () => {
  expect(await new TestJob(root).run(Buffer.alloc(0))).toMatchObject({
    sizeBytes: 0,
    tarBytes: 0,
    entries: 0,
    compression: 'none',
  });
});

describe('LayerJob', () => {
  test('rejects `failed` at once and swallows what is still written', async () => {
    const job = new TestJob(root, { expectedSizeBytes: 1000 });
    // Less than a piece would wait for more.
    job.job.write(randomBytes(2 ** 20));
    expect(await failureOf(job.job.failed)).toMatch(/^SIZE_MISMATCH/);
    expect(job.job.write(randomBytes(2 ** 26))).toBe(true);
    expect(await failureOf(job.job.finish())).toMatch(/^SIZE_MISMATCH/);
  });

  test('calls onDrain after each write that answered false, and copies what it is given', async () => {
    const job = new TestJob(root);
    const content = randomBytes(2 ** 26);
    const blob = Buffer.concat([member({ name: 'f' }, content), END]);
    const chunk = Buffer.alloc(2 ** 20);
    let full = 0;
    for (let at = 0; at < blob.length; at += chunk.length) {
      const length = blob.copy(chunk, 0, at, at + chunk.length);
      if (!job.job.write(chunk.subarray(0, length))) {
        full += 1;
        await job.drained();
      }
      chunk.fill(0xff);
    }
    expect((await job.job.finish()).digest).toBe(digestOf(blob));
    expect(full).toBeGreaterThan(0);
    expect(job.drains).toBe(full);
  });

  test('takes one chunk that is larger than all its buffers', async () => {
    const blob = Buffer.concat([member({ name: 'f' }, randomBytes(2 ** 25)), END]);
    expect((await new TestJob(root).run(blob, blob.length)).digest).toBe(digestOf(blob));
  });

  test('abort() ends a job that waits for bytes; then nothing touches the directory', async () => {
    const job = new TestJob(root);
    job.job.write(tar.subarray(0, 600_000));
    const result = failureOf(job.job.finish());
    job.job.abort();
    // The job may have been quicker only if it had failed.
    expect(await result).toMatch(/^(ABORTED|TRUNCATED)/);
    rmSync(job.directory, { recursive: true });
    job.job.abort();
  });

  test('abort() before finish(): finish rejects with ABORTED', async () => {
    const job = new TestJob(root);
    job.job.abort();
    expect(await failureOf(job.job.failed)).toMatch(/^ABORTED/);
    expect(await failureOf(job.job.finish())).toMatch(/^ABORTED/);
  });

  test('abort() ends a job that reads a pipe in which nothing comes', async () => {
    const fifo = join(root, 'fifo');
    execFileSync('mkfifo', [fifo]);
    const fd = openSync(fifo, 'r+');
    try {
      const job = new TestJob(root);
      job.job.readFrom(fd);
      const result = failureOf(job.job.finish());
      job.job.abort();
      expect(await result).toMatch(/^ABORTED/);
    } finally {
      closeSync(fd);
    }
  });

  test('many at once', async () => {
    const blobs = forms.map(([, blob]) => blob);
    const jobs = [...blobs, ...blobs].map((blob) => new TestJob(root).run(blob, 50_000));
    const diffIds = (await Promise.all(jobs)).map((result) => result.diffId);
    expect(new Set(diffIds)).toEqual(new Set([digestOf(tar)]));
  });

  test('reports implied directories as bytes, parents first', async () => {
    const blob = Buffer.concat([member({ name: Buffer.from('a/\xff/f', 'latin1') }), END]);
    const { impliedDirectories } = await new TestJob(root).run(blob);
    expect(impliedDirectories.map((name) => name.toString('latin1'))).toEqual(['', 'a', 'a/\xff']);
  });

  test('says which option is wrong', () => {
    const make = (options: object) => () => new TestJob(root, options as never);
    expect(make({ form: 'tree' })).toThrow(/^options.form: expected "image" or "directory"/);
    expect(make({ saveBlob: 1 })).toThrow(/^options.saveBlob: expected a boolean/);
    expect(make({ expectedSizeBytes: -1 })).toThrow(/^options.expectedSizeBytes: /);
    expect(make({ limits: { maxEntries: 1.5 } })).toThrow(/^options.limits.maxEntries: /);
    expect(make({ onDrain: null })).toThrow(TypeError);
    expect(make({ directory: join(root, 'absent') })).toThrow(
      expect.objectContaining({ code: 'ENOENT', syscall: 'open' }),
    );
  });

  test('refuses calls out of order', async () => {
    const { job } = new TestJob(root);
    expect(() => job.write('text' as never)).toThrow(TypeError);
    const finished = job.finish();
    expect(() => job.write(Buffer.alloc(1))).toThrow(/after finish/);
    expect(() => job.readFrom(0)).toThrow(/after finish/);
    expect(() => job.finish()).toThrow(/before/);
    await finished;
  });

  test('does not overwrite a blob or layer', async () => {
    const { directory, job } = new TestJob(root);
    await job.finish();
    expect(await failureOf(new TestJob(root, { directory }).run(tar))).toMatch(/^EEXIST: /);
  });

  test('ends with the worker thread that made it', async () => {
    const directory = mkdtempSync(join(root, 'job-'));
    const worker = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads');
       const { LayerJob } = require(workerData.addon);
       const job = new LayerJob(Object.assign(workerData.options, { onDrain() {} }));
       job.write(new Uint8Array(2 ** 20).fill(65));
       parentPort.postMessage('running');
       setInterval(() => {}, 1000);`,
      {
        eval: true,
        workerData: {
          addon: join(import.meta.dirname, '../../build/Release/cais.node'),
          options: {
            form: 'image',
            directory,
            saveBlob: true,
            expectedDigest: null,
            expectedSizeBytes: null,
            expectedDiffId: null,
            limits: { maxTarBytes: 2 ** 40, maxEntries: 9, maxMetadataBytes: 999, reserveBytes: 0 },
          },
        },
      },
    );
    await new Promise((resolve) => worker.once('message', resolve));
    expect(await worker.terminate()).toBe(1);
    rmSync(directory, { recursive: true });
  });
});

test('digestLayerImage() refuses a file that is no layer image', async () => {
  const file = join(root, 'other');
  writeFileSync(file, Buffer.alloc(10_000));
  expect(await failureOf(loadNative().digestLayerImage(file))).toMatch(/^BAD_LAYER: /);
  expect(await failureOf(loadNative().digestLayerImage(join(root, 'no')))).toMatch(/^ENOENT: /);
});

test('the threads of all layers come after whatever else the process does', async () => {
  await new TestJob(root).run(tar);
  const niceness = (task: string) => {
    const text = readFileSync(`/proc/self/task/${task}/stat`, 'latin1');
    // Field 19, counted from the name in parentheses, which is field 2.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { isWorker: text.includes('(cais-layer)'), nice: Number(fields[16]) };
  };
  const tasks = readdirSync('/proc/self/task').map(niceness);
  const workers = tasks.filter(({ isWorker }) => isWorker).map(({ nice }) => nice);
  expect(workers).not.toEqual([]);
  const own = niceness(String(process.pid)).nice;
  expect(new Set(workers)).toEqual(new Set([Math.min(19, own + 10)]));
});
