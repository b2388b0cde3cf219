import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  linkSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { pack } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { END, gnuLong, member, pax, rawHeader } from '../fixtures/raw-tar.js';
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
