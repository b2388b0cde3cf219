import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { TerminalSizes } from '../../src/container/terminal-sizes.js';
import type { TerminalSize } from '../../src/process-streams.js';

async function* sizesOf(...sizes: TerminalSize[]): AsyncGenerator<TerminalSize> {
  for (const size of sizes) yield size;
}

async function collect(sizes: TerminalSizes): Promise<TerminalSize[]> {
  const seen: TerminalSize[] = [];
  sizes.follow(async (size) => void seen.push(size));
  await delay(20);
  return seen;
}

const SMALL = { columns: 80, rows: 24 };
const LARGE = { columns: 200, rows: 50 };

it('the first size is there at once, the others follow', async () => {
  const sizes = new TerminalSizes(sizesOf(SMALL, LARGE));
  expect(await sizes.first()).toEqual(SMALL);
  expect(await collect(sizes)).toEqual([LARGE]);
});

it('a client that says nothing is not waited for, and may speak later', async () => {
  let say: (size: TerminalSize) => void = () => undefined;
  const later = new Promise<TerminalSize>((resolve) => {
    say = resolve;
  });
  const sizes = new TerminalSizes(
    (async function* () {
      yield await later;
    })(),
  );
  expect(await sizes.first()).toBeUndefined();
  say(LARGE);
  expect(await collect(sizes)).toEqual([LARGE]);
});

it('what is no size is left out; no sizes and failing sizes are none', async () => {
  const odd = new TerminalSizes(
    sizesOf(
      { columns: 0, rows: 1 },
      { columns: 1.5, rows: 1 },
      { columns: 65_536, rows: 1 },
      SMALL,
    ),
  );
  expect(await odd.first()).toBeUndefined();
  expect(await collect(odd)).toEqual([SMALL]);
  expect(await new TerminalSizes(undefined).first()).toBeUndefined();
  expect(await collect(new TerminalSizes(undefined))).toEqual([]);
  const failing = new TerminalSizes({
    [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(new Error('broken')) }),
  });
  expect(await failing.first()).toBeUndefined();
  expect(await collect(failing)).toEqual([]);
  failing.stop();
});
