import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeDirectories } from '../src/directories.js';

let place: string;
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), 'cais-directories-'));
});
afterEach(() => rmSync(place, { recursive: true }));

describe('makeDirectories()', () => {
  it('makes what is missing, with the mode, and tells where it began', async () => {
    const path = join(place, 'a/b/c');
    expect(await makeDirectories(path, 0o700)).toBe(join(place, 'a'));
    for (const made of ['a', 'a/b', 'a/b/c'])
      expect(statSync(join(place, made)).mode & 0o777).toBe(0o700);
    expect(await makeDirectories(path, 0o700)).toBeUndefined();
    expect(await makeDirectories(join(path, 'd'), 0o755)).toBe(join(path, 'd'));
  });

  it('follows a link to a directory', async () => {
    mkdirSync(join(place, 'real'));
    symlinkSync('real', join(place, 'link'));
    expect(await makeDirectories(join(place, 'link'), 0o700)).toBeUndefined();
    await makeDirectories(join(place, 'link/x'), 0o700);
    expect(existsSync(join(place, 'real/x'))).toBe(true);
  });

  it('works for several at the same time', async () => {
    const paths = ['a/b/c', 'a/b/d', 'a/b', 'a/b/c/e'].map((name) => join(place, name));
    await Promise.all(paths.map((path) => makeDirectories(path, 0o700)));
    for (const path of paths) expect(statSync(path).isDirectory()).toBe(true);
  });

  it.each([
    ['file', 'EEXIST'],
    ['file/x/y', 'ENOTDIR'],
    ['nowhere', 'EEXIST'],
    ['nowhere/x', 'EEXIST'],
  ])('refuses "%s", where no directory can be, with %s', async (name, code) => {
    writeFileSync(join(place, 'file'), '');
    symlinkSync('does-not-exist', join(place, 'nowhere'));
    await expect(makeDirectories(join(place, name), 0o700)).rejects.toMatchObject({ code });
  });

  // Node's `recursive` does not come back from there.
  it.each(['/proc/cais', '/proc/cais/a/b', '/proc/self/cais'])(
    'comes back from %s',
    async (path) => {
      await expect(makeDirectories(path, 0o700)).rejects.toMatchObject({ code: 'ENOENT' });
    },
  );
});

it('a root in procfs is refused at once', () => {
  const run = join(place, 'run');
  const args = ['--root', '/proc/cais', '--run', run, 'images'];
  const options = { stdio: 'pipe', timeout: 20_000, killSignal: 'SIGKILL' } as const;
  const cais = join(import.meta.dirname, '../bin/cais');
  expect(() => execFileSync(cais, args, options)).toThrow(/cais: .*ENOENT.*\/proc\/cais/);
});
