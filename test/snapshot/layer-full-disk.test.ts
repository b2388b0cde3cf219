import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LayerForm } from '../../src/native.js';
import { failureOf } from '../fixtures/layer-job.js';
import { LayerRoot } from '../fixtures/layer-root.js';
import { makeLayerTar } from '../fixtures/layer-tar.js';

const MIB = 2 ** 20;
const DISK_BYTES = 48 * MIB;

// Not a tmpfs: the kernel mounts no layer image from one.
describe.skipIf(process.getuid?.() !== 0)('a small disk', () => {
  let place: string;
  let disk: string;
  beforeAll(() => {
    place = mkdtempSync(join(tmpdir(), 'cais-full-disk-'));
    disk = join(place, 'disk');
    mkdirSync(disk);
    const image = join(place, 'image');
    execFileSync('truncate', ['-s', String(DISK_BYTES), image]);
    execFileSync('mkfs.ext4', ['-q', '-m', '0', '-N', '512', '-O', '^has_journal', image]);
    execFileSync('mount', ['-o', 'loop', image, disk]);
  });
  afterAll(() => {
    try {
      execFileSync('umount', [disk]);
    } finally {
      rmSync(place, { recursive: true, force: true });
    }
  });

  const freeBytes = () => {
    const { bavail, bsize } = statfsSync(disk);
    return bavail * bsize;
  };

  describe.each(['image', 'directory'] as const)('under layers in %s form', (form: LayerForm) => {
    async function withRoot(
      diskReserveBytes: number,
      use: (root: LayerRoot) => Promise<void>,
    ): Promise<void> {
      const root = await LayerRoot.create({ layerForm: form, limits: { diskReserveBytes } }, disk);
      try {
        await use(root);
        await root.store.close();
        const left = [root.paths.ingest, root.paths.layers, root.paths.blobs].flatMap((path) =>
          existsSync(path) ? readdirSync(path) : [],
        );
        expect(left).toEqual([]);
        expect(root.store.list()).toEqual([]);
      } finally {
        await root.remove();
      }
    }

    test('that has no room for the blob: says where, and leaves nothing', async () => {
      const tar = await makeLayerTar([{ name: 'f', content: randomBytes(DISK_BYTES) }]);
      await withRoot(0, async (root) => {
        const free = freeBytes();
        expect(await failureOf(root.store.ingest(root.ingestOptions(tar)))).toMatch(
          new RegExp(
            `^ENOSPC: Cannot store the layer in "${root.paths.ingest}/layer-[0-9a-f]{64}": No space left`,
          ),
        );
        expect(freeBytes()).toBeGreaterThan(free - MIB);
      });
    });

    test('that has room for the blob only: says where, and leaves nothing', async () => {
      const tar = await makeLayerTar([{ name: 'f', content: Buffer.alloc(DISK_BYTES, 'x') }]);
      const blob = gzipSync(tar, { level: 1 });
      await withRoot(0, async (root) => {
        expect(await failureOf(root.store.ingest(root.ingestOptions(tar, blob)))).toMatch(
          /^ENOSPC: Cannot store the layer in ".*\/ingest\/layer-/,
        );
      });
    });

    test('that would keep less than the reserve: says so before it is full', async () => {
      const tar = await makeLayerTar([{ name: 'f', content: 'x' }]);
      const filler = join(disk, 'filler');
      await withRoot(16 * MIB, async (root) => {
        const options = root.ingestOptions(tar);
        writeFileSync(filler, Buffer.alloc(freeBytes() - 15 * MIB));
        try {
          expect(await failureOf(root.store.ingest(options))).toMatch(
            /^ENOSPC: Cannot keep 16777216 bytes free beside the layer in ".*\/ingest\/layer-/,
          );
        } finally {
          rmSync(filler);
        }
        // With room again the same layer is stored, and takes its files away with it.
        await root.store.ingest(options);
        await root.store.remove(options.diffId);
        rmSync(options.blobPath);
      });
    });

    // An image takes one.
    if (form === 'image') return;
    test('that has no more inodes: says where', async () => {
      const tar = await makeLayerTar(Array.from({ length: 2000 }, (_, i) => ({ name: `f${i}` })));
      await withRoot(0, async (root) => {
        expect(await failureOf(root.store.ingest(root.ingestOptions(tar)))).toMatch(
          /^ENOSPC: Cannot store the layer in ".*\/ingest\/layer-/,
        );
      });
    });
  });
});
