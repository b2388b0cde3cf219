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

  const ways = [{}, { inBackground: true }];

  test.each(ways)('update() sees the last value and removes on undefined (%o)', async (way) => {
    const things = store.collection<{ n: number }>('things');
    await things.put('a', { n: 1 }, way);
    await things.update('a', (current) => ({ n: (current?.n ?? 0) + 1 }), way);
    expect(things.get('a')).toEqual({ n: 2 });
    await things.update('a', () => undefined, way);
    expect(things.has('a')).toBe(false);
  });

  test.each(ways)('transaction() writes nothing when the action throws (%o)', async (way) => {
    const things = store.collection<{ n: number }>('things');
    await expect(
      store.transaction((write) => {
        write.put(things, 'a', { n: 1 });
        throw new Error('no');
      }, way),
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

  test.each(ways)(
    'get() inside of a transaction that fails leaves nothing of it behind (%o)',
    async (way) => {
      const things = store.collection<{ n: number }>('things');
      await things.put('a', { n: 1 });
      await expect(
        store.transaction((write) => {
          write.put(things, 'a', { n: 2 });
          expect(things.get('a')).toEqual({ n: 2 });
          throw new Error('no');
        }, way),
      ).rejects.toThrow('no');
      expect(things.get('a')).toEqual({ n: 1 });
    },
  );

  test('changes in the background and at once, in turns and by two writers, lose none', async () => {
    const writers = [store, RecordStore.open(join(directory, 'meta'))];
    await Promise.all(
      Array.from({ length: 300 }, (_, i) =>
        writers[i % 2]
          ?.collection<{ n: number }>('things')
          .update('a', (current) => ({ n: (current?.n ?? 0) + 1 }), { inBackground: i % 3 > 0 }),
      ),
    );
    await nextTurn();
    expect(store.collection<{ n: number }>('things').get('a')).toEqual({ n: 300 });
    await writers[1]?.close();
  });
});
