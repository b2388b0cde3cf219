import { describe, expect, test } from 'vitest';
import { percentiles, watchEventLoop } from '../../bench/event-loop-delays.mjs';
import { commonStretches, watchStandstills, withoutStandstills } from '../../bench/standstills.mjs';

describe('commonStretches()', () => {
  test('is where all processors were late', () => {
    expect(
      commonStretches([
        [
          [10, 40],
          [50, 60],
          [90, 95],
        ],
        [
          [5, 12],
          [35, 55],
        ],
      ]),
    ).toEqual([
      [10, 12],
      [35, 40],
      [50, 55],
    ]);
  });

  test('needs each of them', () => {
    expect(commonStretches([[[1, 9]], [], [[2, 8]]])).toEqual([]);
    expect(commonStretches([[[1, 9]], [[2, 8]], [[3, 4]]])).toEqual([[3, 4]]);
    expect(commonStretches([[[1, 9]]])).toEqual([[1, 9]]);
    expect(commonStretches([])).toEqual([]);
  });
});

test('withoutStandstills() takes the parts of a delay in which the machine stood still, and no more', () => {
  const delays = [
    { endMs: 100, delayMs: 30 },
    { endMs: 200, delayMs: 0 },
    { endMs: 250, delayMs: 36 },
    { endMs: 400, delayMs: 10 },
  ];
  const standstills = [
    [60, 80],
    [95, 97],
    [190, 300],
  ] as const;
  expect(withoutStandstills(delays, standstills)).toEqual([18, 0, 0, 10]);
});

test('percentiles() are by nearest rank', () => {
  const values = Array.from({ length: 1000 }, (_, i) => 1000 - i);
  expect(percentiles(values)).toEqual({ p50Ms: 500, p99Ms: 990, p999Ms: 999, maxMs: 1000 });
  expect(percentiles([7])).toEqual({ p50Ms: 7, p99Ms: 7, p999Ms: 7, maxMs: 7 });
});

test('watchEventLoop() sees what blocks the loop, and when', async () => {
  const loop = watchEventLoop();
  await new Promise((resolve) => setTimeout(resolve, 20));
  const from = Number(process.hrtime.bigint()) / 1e6;
  while (Number(process.hrtime.bigint()) / 1e6 < from + 50);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const worst = loop.stop().reduce((a, b) => (b.delayMs > a.delayMs ? b : a));
  expect(worst.delayMs).toBeGreaterThan(45);
  expect(worst.endMs).toBeGreaterThan(from + 49);
  expect(worst.endMs - worst.delayMs).toBeLessThan(from + 10);
});

test('watchStandstills() gives nothing where its program is refused, as without the right to a real-time priority', async () => {
  expect(await watchStandstills(['false']).stop()).toBeUndefined();
  const output = JSON.stringify({ processors: [[[1, 5]], [[2, 6]]] });
  expect(await watchStandstills(['echo', output]).stop()).toEqual([[2, 5]]);
});
