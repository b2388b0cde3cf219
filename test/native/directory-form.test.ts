import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TestJob } from '../fixtures/layer-job.js';
import { END, member } from '../fixtures/raw-tar.js';

let root: string;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'cais-directory-form-'));
});

afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

test('owner and mode come from the tar, not from a directory above that hands on its group', async () => {
  const directory = join(root, 'set-group-id');
  mkdirSync(directory);
  chownSync(directory, 0, 1234);
  chmodSync(directory, 0o2755);
  const tar = Buffer.concat([member({ name: 'd/', type: '5' }), member({ name: 'd/f' }, 'x'), END]);
  await new TestJob(root, { form: 'directory', directory }).run(tar);
  for (const path of ['layer', 'layer/d', 'layer/d/f']) {
    const { gid, mode } = statSync(join(directory, path));
    expect([path, gid, mode & 0o2000]).toEqual([path, 0, 0]);
  }
});

// The pieces of an uncompressed tar come from the smallest pool, and small files hold them until they are made.
test('small files of an uncompressed layer, more than all pieces hold, are all made', async () => {
  const names = Array.from({ length: 600 }, (_, i) => `d${i % 7}/f${i}`);
  const content = Buffer.alloc(10_000, 'c');
  const tar = Buffer.concat([...names.map((name) => member({ name }, content)), END]);
  const job = new TestJob(root, { form: 'directory' });
  expect(await job.run(tar)).toMatchObject({ entries: 600, compression: 'none' });
  for (const name of names) {
    expect(readFileSync(join(job.directory, 'layer', name)).equals(content)).toBe(true);
  }
});
