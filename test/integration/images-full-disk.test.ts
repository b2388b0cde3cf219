import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeOciLayout } from '../../scripts/oci-layout.mjs';
import { FakeRegistry } from '../fakes/registry.js';
import { type ImageRoot, openImageRoot, tarOf } from './images-fixture.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: a small tmpfs needs root');

const PAGE_BYTES = 4096;
/** As large as a page or two each: config and manifest are what the disk has no room for, in one step or another. */
const labels = { label: 'x'.repeat(3 * PAGE_BYTES) };

describe.skipIf(!isRoot)('an image, on a disk with room for a part of it', () => {
  let mountpoint: string;
  let root: ImageRoot;
  let registry: FakeRegistry;

  beforeEach(async () => {
    mountpoint = mkdtempSync(join(tmpdir(), 'cais-full-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'cais-test', mountpoint]);
    registry = await FakeRegistry.start();
    root = await openImageRoot({
      parent: mountpoint,
      settings: { layerForm: 'directory', limits: { diskReserveBytes: 0 } },
    });
  });
  afterEach(async () => {
    try {
      await root[Symbol.asyncDispose]();
    } finally {
      await registry.stop();
      // Not lazily: it fails when anything still uses the disk.
      execFileSync('umount', [mountpoint]);
      rmSync(mountpoint, { recursive: true });
    }
  });

  const freeBytes = () => {
    const { bavail, bsize } = statfsSync(mountpoint);
    return bavail * bsize;
  };
  const left = () =>
    ['ingest', 'layers/sha256', 'blobs/sha256'].flatMap((name) =>
      readdirSync(join(root.directory, name)),
    );

  /** Tries with room for 0, 1, 2… pages; tells for how many it failed before it did not. */
  async function failuresUntilItFits(add: () => Promise<unknown>): Promise<number> {
    // What a first image leaves for good: pages of the store of records.
    await add();
    await root.images.remove(root.images.list()[0]?.id ?? '');
    await root.layers.settled();
    const filler = join(mountpoint, 'filler');
    for (let pages = 0; pages < 100; pages++) {
      writeFileSync(filler, Buffer.alloc(freeBytes() - pages * PAGE_BYTES));
      const error = await add().then(
        () => undefined,
        (reason: Error & { code?: string }) => reason,
      );
      if (error === undefined) {
        rmSync(filler);
        await expectWhole();
        return pages;
      }
      expect(error.code, `${pages} pages: ${error.stack}`).toBe('ENOSPC');
      expect(error.message).toMatch(/: No space left on device|disk is full/);
      expect(root.images.list()).toEqual([]);
      expect(left()).toEqual([]);
      rmSync(filler);
    }
    return expect.unreachable('it never fits');
  }

  /** Everything can be saved, and with the next change other tools see what there is. */
  async function expectWhole(): Promise<void> {
    const [image] = root.images.list();
    const destination = join(mountpoint, 'saved.tar');
    await root.images.save([image?.id ?? ''], { destination });
    await root.images.load(destination, { name: 'example.com/again:v1' });
    const index = readFileSync(join(root.directory, 'index.json'), 'utf8');
    for (const name of root.images.list()[0]?.names ?? []) expect(index).toContain(name);
  }

  it('that is pulled is there as a whole or not at all', async () => {
    const tar = await tarOf({ file: 'y'.repeat(2 * PAGE_BYTES) });
    registry.addImage('p/app', { tag: 'v1', layers: [tar], config: { Labels: labels } });
    const failures = await failuresUntilItFits(() => root.images.pull(`${registry.host}/p/app:v1`));
    expect(failures).toBeGreaterThan(6);
  });

  it('that is loaded is there as a whole or not at all', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'cais-layout-'));
    try {
      const tar = await tarOf({ file: 'y'.repeat(2 * PAGE_BYTES) });
      writeOciLayout(directory, {
        layers: [{ tar, compression: 'gzip' }],
        config: { Labels: labels },
      });
      const name = 'example.com/app:v1';
      const failures = await failuresUntilItFits(() => root.images.load(directory, { name }));
      expect(failures).toBeGreaterThan(6);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
