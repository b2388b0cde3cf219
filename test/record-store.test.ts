import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as nextTurn } from 'node:timers/promises';
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

  test('get() and list() see what another writer wrote, and share what did not change', async () => {
    const things = store.collection<{ text: string }>('things');
    const others = RecordStore.open(join(directory, 'meta')).collection<{ text: string }>('things');
    const large = 'x'.repeat(100_000);
    await things.put('a', { text: 'one' });
    await things.put('b', { text: large });
    const [a, b] = things.list().map(({ value }) => value);
    expect([a, b]).toEqual([{ text: 'one' }, { text: large }]);
    await others.put('a', { text: 'two' });
    // A reader's view of the database lasts for the current turn of the event loop.
    await nextTurn();
    expect(things.get('a')).toEqual({ text: 'two' });
    expect(things.get('b')).toBe(b);
    expect(things.list()[1]?.value).toBe(b);
    await others.remove('b');
    await nextTurn();
    expect(things.get('b')).toBeUndefined();
    expect(things.list()).toEqual([{ id: 'a', value: { text: 'two' } }]);
  });

  test('get() inside of a transaction that fails leaves nothing of it behind', async () => {
    const things = store.collection<{ n: number }>('things');
    await things.put('a', { n: 1 });
    await expect(
      store.transaction((write) => {
        write.put(things, 'a', { n: 2 });
        expect(things.get('a')).toEqual({ n: 2 });
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    expect(things.get('a')).toEqual({ n: 1 });
  });
});
