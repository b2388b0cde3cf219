import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RecordStore } from '../src/record-store.js';

describe('RecordStore', () => {
  let directory: string;
  let store: RecordStore;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'cais-records-'));
    store = RecordStore.open(join(directory, 'meta'));
  });
  afterEach(async () => {
    await store.close();
    rmSync(directory, { recursive: true });
  });

  test('update() sees the last value and removes on undefined', async () => {
    const things = store.collection<{ n: number }>('things');
    await things.put('a', { n: 1 });
    await things.update('a', (current) => ({ n: (current?.n ?? 0) + 1 }));
    expect(things.get('a')).toEqual({ n: 2 });
    await things.update('a', () => undefined);
    expect(things.has('a')).toBe(false);
  });

  test('transaction() writes nothing when the action throws', async () => {
    const things = store.collection<{ n: number }>('things');
    await expect(
      store.transaction((write) => {
        write.put(things, 'a', { n: 1 });
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    expect(things.list()).toEqual([]);
  });
});
