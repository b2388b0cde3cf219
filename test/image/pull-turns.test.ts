import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { PullTurns } from '../../src/image/pull-turns.js';
import { expectNothingLeft, pull, registry } from './images-fixture.js';

describe('PullTurns.next()', () => {
  it('lets those who wait go on one in each turn of the event loop, in their order', async () => {
    const turns = new PullTurns();
    const gone: string[] = [];
    const wait = async (name: string) => {
      await turns.next();
      gone.push(name);
    };
    const all = ['a', 'b', 'c'].map(wait);
    expect(gone).toEqual([]);
    const seen: string[] = [];
    while (gone.length < 3) {
      await turn();
      seen.push(gone.join(''));
    }
    expect(seen).toEqual(['a', 'ab', 'abc']);
    await Promise.all(all);
  });

  it('keeps nobody waiting for a turn that is long over', async () => {
    const turns = new PullTurns();
    for (let round = 0; round < 3; round++) {
      const next = turns.next().then(() => 'next');
      await turn();
      expect(await Promise.race([next, turn().then(() => 'late')])).toBe('next');
    }
  });
});

describe('pull()', () => {
  it('waits for its turn at its start, after manifest and config, and for each layer', async () => {
    const next = vi.spyOn(PullTurns.prototype, 'next');
    try {
      registry.addImage('p/turns', { tag: 'v1', layers: [Buffer.from('one'), Buffer.from('two')] });
      await pull('p/turns:v1');
      expect(next).toHaveBeenCalledTimes(5);
    } finally {
      next.mockRestore();
    }
  });

  it.each([1, 2, 3, 4, 5])(
    'leaves nothing when it is aborted while it waits for turn %i',
    async (number) => {
      const abort = new AbortController();
      const why = new Error('enough');
      const { next } = PullTurns.prototype;
      let turns = 0;
      const spy = vi.spyOn(PullTurns.prototype, 'next').mockImplementation(function (
        this: PullTurns,
      ) {
        turns += 1;
        if (turns === number) abort.abort(why);
        return next.call(this);
      });
      try {
        registry.addImage('p/turns', {
          tag: 'v1',
          layers: [Buffer.from('one'), Buffer.from('two')],
        });
        await expect(pull('p/turns:v1', { signal: abort.signal })).rejects.toBe(why);
        expect(turns).toBeGreaterThanOrEqual(number);
        expectNothingLeft();
      } finally {
        spy.mockRestore();
      }
    },
  );
});
