import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openFreshDisk } from '../../bench/fresh-disk.mjs';
import { mountsBelow } from '../fixtures/leak-check.js';

let cache: string;
let previous: string | undefined;

beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), 'cais-fresh-disk-'));
  previous = process.env['CAIS_CACHE_DIR'];
  process.env['CAIS_CACHE_DIR'] = cache;
});

afterEach(() => {
  if (previous === undefined) delete process.env['CAIS_CACHE_DIR'];
  else process.env['CAIS_CACHE_DIR'] = previous;
  rmSync(cache, { recursive: true, force: true });
});

function module(name: string): string {
  return JSON.stringify(join(import.meta.dirname, '../../bench', name));
}

/** Loop devices on files of the cache. */
function loopDevices(): string[] {
  return execFileSync('losetup', ['--list', '--noheadings', '--output', 'BACK-FILE'], {
    encoding: 'utf8',
  })
    .split('\n')
    .filter((file) => file.startsWith(cache));
}

test('openFreshDisk() gives an empty ext4 that is gone after close()', async () => {
  const disk = await openFreshDisk();
  expect(readdirSync(disk.directory)).toEqual(['lost+found']);
  const mount = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .find((line) => line.split(' ')[1] === disk.directory);
  expect(mount).toMatch(/ ext4 rw,/);
  writeFileSync(join(disk.directory, 'file'), Buffer.alloc(1 << 20));

  await disk.close();
  await disk.close();

  expect(mountsBelow(cache)).toEqual([]);
  expect(loopDevices()).toEqual([]);
  expect(readdirSync(join(cache, 'bench/disks'))).toEqual([]);
});

test('close() unmounts what was mounted on the disk', async () => {
  const disk = await openFreshDisk();
  const inner = join(disk.directory, 'inner mount');
  mkdirSync(inner);
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', inner]);

  await disk.close();

  expect(mountsBelow(cache)).toEqual([]);
  expect(loopDevices()).toEqual([]);
});

test('openFreshDisk() removes what a killed run left', async () => {
  const script = `
    const { openFreshDisk } = await import(${module('fresh-disk.mjs')});
    const { openPlace } = await import(${module('place.mjs')});
    const { directory } = await openFreshDisk();
    const { place } = await openPlace({ directory });
    await place.daemon(['sleep', '60'], { cwd: directory });
    process.kill(process.pid, 'SIGKILL');`;
  expect(() =>
    execFileSync(process.execPath, ['--input-type=module', '-e', script], { stdio: 'ignore' }),
  ).toThrow();
  expect(mountsBelow(cache)).toHaveLength(1);

  const disk = await openFreshDisk();
  expect(mountsBelow(cache)).toHaveLength(1);
  await disk.close();

  expect(mountsBelow(cache)).toEqual([]);
  expect(loopDevices()).toEqual([]);
});
