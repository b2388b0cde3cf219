import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RecordStore } from '../src/record-store.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: a small tmpfs needs root');

describe.skipIf(!isRoot)('RecordStore on a full disk', () => {
  let mountpoint: string;

  beforeEach(() => {
    mountpoint = mkdtempSync(join(tmpdir(), 'cais-full-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'cais-test', mountpoint]);
  });

  afterEach(() => {
    execFileSync('umount', ['-l', mountpoint]);
    rmSync(mountpoint, { recursive: true });
  });

  it.each([{}, { inBackground: true }])(
    'refuses ordinary writes (%o) with ENOSPC and still updates and removes what is there',
    async (way) => {
      const store = RecordStore.open(join(mountpoint, 'meta'));
      const records = store.collection<{ text: string }>('things');
      let written = 0;
      const refusal = await (async () => {
        for (; written < 10_000; written++) {
          try {
            await records.put(`id${written}`, { text: 'x'.repeat(3000) }, way);
          } catch (error) {
            return error;
          }
        }
        return undefined;
      })();
      expect(refusal).toMatchObject({ code: 'ENOSPC' });
      expect(written).toBeGreaterThan(100);
      // Whatever is left on the disk goes too: only the reserve remains.
      try {
        writeFileSync(join(mountpoint, 'rest'), Buffer.alloc(8 * 2 ** 20));
      } catch (error) {
        expect(error).toMatchObject({ code: 'ENOSPC' });
      }

      await expect(records.put('more', { text: 'ordinary' }, way)).rejects.toMatchObject({
        code: 'ENOSPC',
      });
      for (let index = 0; index < 50; index++) {
        await records.update(`id${index}`, () => ({ text: `stopped ${index}` }), {
          essential: true,
          ...way,
        });
        await records.remove(`id${index}`);
      }
      expect(records.has('id49')).toBe(false);
      expect(records.get('id50')?.text).toHaveLength(3000);
      await store.close();
    },
  );
});
