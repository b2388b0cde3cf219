import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SUPERVISOR_PATH } from '../../src/native.js';
import { RecordReader, RecordWriter } from '../../src/runtime/record-codec.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: mounting needs root');

const CLIENT = join(import.meta.dirname, 'run_mount_overlay.py');
const EINVAL = 22;
const ENOENT = 2;
const E2BIG = 7;

describe.skipIf(!isRoot)('cais-supervisor mount-overlay', () => {
  let root: string;

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'cais-overlay-'));
    for (const name of ['l', 'layers', 'upper', 'work']) mkdirSync(join(root, name));
  });
  afterEach(() => {
    rmSync(root, { recursive: true });
  });

  /** A layer in the directory form, under a short link. */
  const addLayer = (link: string, files: Readonly<Record<string, string>>) => {
    const directory = join(root, 'layers', link);
    mkdirSync(directory);
    for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
    symlinkSync(directory, join(root, 'l', link));
  };
  const upper = () => `,upperdir=${root}/upper,workdir=${root}/work`;

  /** Mounts, and runs `script` in the root of the mount. */
  const mounted = (options: string, script: string, directory = join(root, 'l')) => {
    const record = join(root, 'record');
    writeFileSync(record, new RecordWriter().string(1, directory).string(2, options).finish());
    const args = [CLIENT, SUPERVISOR_PATH, record, 'sh', '-c', script];
    return new Promise<{ stdout: string; failure?: { errno: number; path: string; text: string } }>(
      (resolve, reject) => {
        execFile('python3', args, (error, stdout, stderr) => {
          if (error === null) return resolve({ stdout });
          if (!/^[0-9a-f]+\n$/.test(stderr)) return reject(error);
          const answer = new RecordReader(Buffer.from(stderr.trim(), 'hex'));
          const errno = answer.number(2) ?? 0;
          const text = `${answer.string(1)} ${answer.string(4)}`;
          resolve({ stdout, failure: { errno, path: answer.string(3) ?? '', text } });
        });
      },
    );
  };

  test('hands back a mount of layers named by links, the upper-most first, with a writable layer on top', async () => {
    addLayer('1', { same: 'bottom', bottom: 'b' });
    addLayer('2', { same: 'top' });
    const { stdout } = await mounted(
      `lowerdir=2:1${upper()}`,
      'cat same bottom; echo changed > bottom; ls -a .. | wc -l',
    );
    expect(stdout.startsWith('topb')).toBe(true);
    expect(readFileSync(join(root, 'upper/bottom'), 'utf8')).toBe('changed\n');
    expect(readFileSync(join(root, 'layers/1/bottom'), 'utf8')).toBe('b');
  });

  test('leaves nothing in the table of mounts', async () => {
    addLayer('1', {});
    addLayer('2', {});
    // The table names the upper directory, which is this test's alone.
    const { stdout } = await mounted(`lowerdir=2:1${upper()}`, 'cat /proc/self/mountinfo');
    expect(stdout).toContain('/proc');
    expect(stdout).not.toContain(root);
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(root);
  });

  test('mounts 300 layers', async () => {
    const names = Array.from({ length: 300 }, (_, index) => String(index));
    for (const name of names) addLayer(name, { [`file${name}`]: '' });
    const { stdout, failure } = await mounted(
      `lowerdir=${names.join(':')}${upper()}`,
      'ls | wc -l',
    );
    expect({ count: Number(stdout), failure }).toEqual({ count: 300 });
  });

  test('refuses options beyond one page, of which the kernel would take the first part', async () => {
    addLayer('1', {});
    addLayer('2', {});
    const { failure } = await mounted(`lowerdir=2:1${',ro'.repeat(1400)}`, 'true');
    expect(failure).toMatchObject({ errno: E2BIG });
  });

  test.each([
    ['a layer that is missing', 'lowerdir=1:absent', ENOENT],
    ['an option that the kernel does not know', 'lowerdir=1:2,nonsense=1', EINVAL],
  ])('says what failed for %s', async (_name, options, errno) => {
    addLayer('1', {});
    addLayer('2', {});
    const { failure } = await mounted(options, 'true');
    expect(failure).toMatchObject({ errno, path: expect.stringContaining(options) });
  });

  test('says which directory of links is missing', async () => {
    const absent = join(root, 'absent');
    const { failure } = await mounted('lowerdir=1:2', 'true', absent);
    expect(failure).toMatchObject({ errno: ENOENT, path: absent });
    expect(existsSync(absent)).toBe(false);
  });
});
