import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { statePaths } from '../../src/config.js';
import { DiskUsage } from '../../src/image/disk-usage.js';
import { loadNative } from '../../src/native.js';
import { images, pull, registry, root } from './images-fixture.js';

const native = loadNative();
let usage: DiskUsage;
let measured: string[];

beforeEach(() => {
  measured = [];
  usage = new DiskUsage({
    paths: statePaths({ root, run: join(root, 'run') }),
    native: {
      treeUsage: (path) => {
        measured.push(path);
        return native.treeUsage(path);
      },
    },
  });
});

/** What du says, in bytes, of these directories of the root. */
function du(...names: readonly string[]): number {
  const paths = names.map((name) => join(root, name));
  const output = execFileSync('du', ['-s', '-c', '-B1', ...paths], { encoding: 'utf8' });
  return Number(/([0-9]+)\ttotal/.exec(output)?.[1]);
}

/** A container that has written. */
function write(container: string, bytes: number): void {
  const directory = join(root, 'active', container, 'upper');
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'file'), Buffer.alloc(bytes, 1));
}

it('says what the disk holds, of images and of containers', async () => {
  registry.addImage('p/app', { tag: '1', layers: [Buffer.alloc(500_000, 'x')] });
  await pull('p/app:1');
  mkdirSync(join(root, 'layers/sha256/aa/etc'), { recursive: true });
  writeFileSync(join(root, 'layers/sha256/aa/etc/file'), Buffer.alloc(100_000, 1));
  write('c1', 70_000);
  write('c2', 3_000);
  const info = await usage.measure();
  expect(info.images.mountpoint).toBe(root);
  expect(info.containers.mountpoint).toBe(root);
  expect(info.images.usedBytes).toBe(du('blobs/sha256', 'layers/sha256/aa', 'index.json'));
  expect(info.containers.usedBytes).toBe(du('active/c1', 'active/c2'));
  expect(info.containers.usedInodes).toBe(6);
  expect(info.images.atNanos).toBeGreaterThan(1_700_000_000_000_000_000n);
});

it('measures a layer once, and forgets one that is gone', async () => {
  const layer = join(root, 'layers/sha256/aa');
  mkdirSync(layer, { recursive: true });
  const first = await usage.measure();
  await expireIn(usage);
  expect(await usage.measure()).toMatchObject({ images: { usedInodes: first.images.usedInodes } });
  expect(measured.filter((path) => path === layer)).toHaveLength(1);
  rmSync(layer, { recursive: true });
  await expireIn(usage);
  const last = await usage.measure();
  expect(last.images.usedInodes).toBe(first.images.usedInodes - 1);
});

it('shares a measurement among those who ask at once', async () => {
  await Promise.all([usage.measure(), usage.measure()]);
  const blobs = join(root, 'blobs', 'sha256');
  expect(measured.filter((path) => path === blobs)).toHaveLength(1);
});

it('is answered by the image service, also before there is any container', async () => {
  const { images: ofImages, containers } = await images.fsInfo();
  expect(statSync(ofImages.mountpoint).isDirectory()).toBe(true);
  expect(containers).toMatchObject({ usedBytes: 0, usedInodes: 0 });
});

/** Waits until the last answer is too old to be given again. */
async function expireIn(one: DiskUsage): Promise<void> {
  const before = await one.measure();
  for (let after = before; after === before; after = await one.measure()) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  measured = measured.filter((path) => path.includes('layers'));
}
