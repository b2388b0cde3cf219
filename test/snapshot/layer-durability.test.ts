import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { LayerDurability } from '../../src/snapshot/layer-durability.js';

let synced: string[];
const native = {
  syncFile: async (path: string) => void synced.push(path),
  syncFilesystem: async (path: string) => void synced.push(`all of ${path}`),
};

beforeEach(() => {
  vi.useFakeTimers();
  synced = [];
});
afterEach(() => {
  vi.useRealTimers();
});

test('syncs when nothing has been fetched for a while', async () => {
  const durability = new LayerDurability(native, { quietMs: 500 });
  durability.schedule({ files: ['a'], onSynced: async () => synced.push('noted') });
  durability.schedule({ files: [], tree: 't' });
  await vi.advanceTimersByTimeAsync(499);
  expect(synced).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(synced).toEqual(['a', 'noted', 'all of t']);
});

test('waits while something is fetched, but not for ever', async () => {
  const durability = new LayerDurability(native, { quietMs: 500, maxWaitMs: 5000 });
  void durability.duringFetch(() => new Promise(() => undefined));
  durability.schedule({ files: ['a'] });
  await vi.advanceTimersByTimeAsync(4999);
  expect(synced).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(synced).toEqual(['a']);
});

test('waits no longer when the clock of the machine is set back', async () => {
  const durability = new LayerDurability(native, { quietMs: 500, maxWaitMs: 5000 });
  void durability.duringFetch(() => new Promise(() => undefined));
  durability.schedule({ files: ['a'] });
  vi.setSystemTime(Date.now() - 3_600_000);
  // Looks at the time again.
  await durability.duringFetch(async () => undefined);
  await vi.advanceTimersByTimeAsync(5000);
  expect(synced).toEqual(['a']);
});

test('a file that is gone keeps nothing else from the disk', async () => {
  const failing = { ...native, syncFile: () => Promise.reject(new Error('ENOENT')) };
  const durability = new LayerDurability(failing);
  durability.schedule({ files: ['gone'], onSynced: async () => synced.push('noted') });
  durability.schedule({ files: [], tree: 't' });
  await durability.settled();
  expect(synced).toEqual(['all of t']);
});

test('close() starts no more syncs', async () => {
  const durability = new LayerDurability(native);
  durability.schedule({ files: ['a'] });
  await durability.close();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(synced).toEqual([]);
});
