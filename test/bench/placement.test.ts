import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Placement } from '../../bench/contract.js';
import {
  best,
  MAX_ATTEMPTS,
  measureInPlace,
  oddShare,
  Patience,
  PlacementWatch,
} from '../../bench/placement.mjs';
import { InterruptedError, UndoStack } from '../../bench/undo-stack.mjs';
import { buildLimitPart, type LimitPart } from './limit-part.js';

const RUN_MS = 300;
const LOOK_MS = 10;

let part: LimitPart;
const opened: PlacementWatch[] = [];

beforeAll(() => {
  part = buildLimitPart('placement', {
    statement: 'WatchPlacement();',
    sources: ['processors.cc', 'low_percentile.cc'],
  });
});

afterEach(async () => {
  for (const watch of opened.splice(0)) await watch.close();
});

afterAll(() => {
  part.remove();
});

function openWatch({
  undo = new UndoStack(),
  command = [part.program] as readonly [string, ...string[]],
  patience = new Patience({ each: 60, inAll: 60 }),
} = {}) {
  const said: string[] = [];
  const watch = new PlacementWatch(
    undo,
    { say: (message) => said.push(message), patience },
    command,
  );
  opened.push(watch);
  return { watch, said };
}

function whyNoPlacement(): string | undefined {
  if (availableParallelism() !== 2) {
    return `a placement is that of two processors, and there are ${availableParallelism()}`;
  }
  const { status } = spawnSync('chrt', ['--fifo', '1', 'true']);
  return status === 0 ? undefined : 'no real-time priority is given here';
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('PlacementWatch', () => {
  const noMachine = whyNoPlacement();

  test('looks while something runs, and only then', async (context) => {
    context.skip(noMachine !== undefined, noMachine);
    const { watch, said } = openWatch();
    let seen = 0;
    // The machine may stand still for all of a turn.
    for (let turn = 0; seen < 3 && turn < 20; turn++) {
      const order: string[] = [];
      const { value, placement } = await watch.during(
        async () => {
          order.push('run');
          await sleep(RUN_MS);
          return turn;
        },
        async () => {
          order.push('beforehand');
          await sleep(RUN_MS);
        },
      );
      expect(value).toBe(turn);
      expect(order).toEqual(['beforehand', 'run']);
      expect(said).toEqual([]);
      const { looks, far, together } = placement ?? { looks: 0, far: 0, together: 0 };
      // Some fail.
      if (looks > RUN_MS / LOOK_MS / 4) seen++;
      expect(far).toBeGreaterThanOrEqual(0);
      expect(together).toBeGreaterThanOrEqual(0);
      expect(far + together).toBeLessThanOrEqual(looks);
    }
    expect(seen).toBe(3);
  });

  test('goes on when what runs has failed', async (context) => {
    context.skip(noMachine !== undefined, noMachine);
    const { watch } = openWatch();
    await expect(watch.during(() => Promise.reject(new Error('failed')))).rejects.toThrow('failed');
    const { value, placement } = await watch.during(async () => 'next');
    expect(value).toBe('next');
    expect(placement).toBeDefined();
  });

  test('loses no run when its program is killed meanwhile, and says so once', async (context) => {
    context.skip(noMachine !== undefined, noMachine);
    const { watch, said } = openWatch();
    const killed = await watch.during(async () => {
      process.kill(watch.pid ?? 0, 'SIGKILL');
      return 'run';
    });
    expect(killed).toEqual({ value: 'run', placement: undefined });
    expect(await watch.during(async () => 'next')).toEqual({ value: 'next', placement: undefined });
    expect(said).toEqual(['nobody looks where the processors are: SIGKILL']);
  });

  test('lets everything run unseen where no real-time priority is given', async (context) => {
    context.skip(noMachine !== undefined, noMachine);
    const command = ['setpriv', '--bounding-set=-sys_nice', part.program] as const;
    const { watch, said } = openWatch({ command });
    expect(await watch.during(async () => 1)).toEqual({ value: 1, placement: undefined });
    expect(said[0]).toContain('sched_setscheduler(SCHED_FIFO): Operation not permitted');
  });

  test('lets everything run unseen where the processors are not two, and says so once', async () => {
    const { watch, said } = openWatch({ command: ['taskset', '-c', '0', part.program] });
    for (let turn = 0; turn < 2; turn++) {
      expect(await watch.during(async () => turn)).toEqual({ value: turn, placement: undefined });
    }
    expect(said).toEqual([
      'nobody looks where the processors are: limit: placement: it can be seen of two processors only, and there are 1',
    ]);
  });

  test('lets everything run unseen where its program cannot be started', async () => {
    const { watch, said } = openWatch({ command: [join(part.directory, 'missing')] });
    expect(await watch.during(async () => 1)).toEqual({ value: 1, placement: undefined });
    expect(said).toHaveLength(1);
    expect(said[0]).toContain('ENOENT');
  });

  test('waits for the processors only as long as there is patience', async () => {
    const script =
      'while read -r line; do echo "$line" >> "$0"; echo "{\\"line\\":\\"$line\\"}"; done';
    const askedWith = async (inAll: number) => {
      const lines = join(part.directory, `lines-${inAll}`);
      const patience = new Patience({ each: 60, inAll });
      const { watch } = openWatch({ patience, command: ['sh', '-c', script, lines] });
      await watch.during(async () => undefined);
      await watch.close();
      return readFileSync(lines, 'utf8').trim().split('\n');
    };
    expect(await askedWith(3600)).toEqual(['settle', 'watch', 'stop']);
    expect(await askedWith(0)).toEqual(['watch', 'stop']);
  });

  test('lets nothing begin when everything is being closed', async () => {
    const undo = new UndoStack();
    const { watch } = openWatch({ undo });
    await undo.closeAll();
    await expect(watch.during(async () => 1)).rejects.toThrow(InterruptedError);
  });
});

test('the low percentile forgets what is rare, and nothing else', () => {
  const built = buildLimitPart('low_percentile', {
    statement: `LowPercentile low;
      std::printf("%g", low.Get());
      for (double value; std::scanf("%lf", &value) == 1;) {
        low.Add(value);
        std::printf(" %g", low.Get());
      }`,
    includes: ['cstdio'],
    sources: [],
  });
  try {
    const after = (...values: number[]) =>
      execFileSync(built.program, { input: values.join(' '), encoding: 'utf8' })
        .split(' ')
        .map(Number);
    expect(after(300, 210.7, 90, 210, 5000, -1)).toEqual([0, 300, 210, 90, 90, 90, 0]);
    // One of them is wrong: the others are the least of all from a hundred on.
    const values = [40, ...Array.from({ length: 399 }, (_, i) => 210 + (i % 7))];
    const lows = after(...values);
    expect(lows.slice(1, 100)).toEqual(Array.from({ length: 99 }, () => 40));
    expect(lows.slice(100)).toEqual(Array.from({ length: 301 }, () => 210));
    expect(after(9000, 9000)).toEqual([0, 4095, 4095]);
  } finally {
    built.remove();
  }
});

test('the program does not understand everything', (context) => {
  const reason = whyNoPlacement();
  context.skip(reason !== undefined, reason);
  expect(() => execFileSync(part.program, { input: 'look\n', stdio: 'pipe' })).toThrow(
    'cannot understand "look"',
  );
});

test('the program ends with its input, as when the benchmark is killed', async (context) => {
  const reason = whyNoPlacement();
  context.skip(reason !== undefined, reason);
  const child = spawn(part.program, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.write('watch\n');
  expect(String((await once(child.stdout, 'data'))[0])).toBe('{}\n');
  child.stdin.end();
  expect(await once(child, 'exit')).toEqual([0, null]);
});

function makePlacement(odd: number): Placement {
  return { looks: 100, far: odd, together: 0 };
}

test('oddShare() counts both ways of being in the wrong place', () => {
  expect(oddShare({ looks: 50, far: 5, together: 10 })).toBe(0.3);
  expect(oddShare({ looks: 0, far: 0, together: 0 })).toBe(0);
  expect(oddShare(undefined)).toBe(0);
});

describe('measureInPlace()', () => {
  async function measure(
    odds: readonly (number | undefined)[],
    patience = new Patience({ each: 60, inAll: 60 }),
  ) {
    let turn = 0;
    const attempts = await measureInPlace(async () => {
      const odd = odds[turn];
      const placement = odd === undefined ? undefined : makePlacement(odd);
      return { name: turn++, placement };
    }, patience);
    return { attempts: attempts.length, counted: best(attempts).name };
  }

  test('measures once where the processors are in place, or nobody looks', async () => {
    expect(await measure([0])).toEqual({ attempts: 1, counted: 0 });
    expect(await measure([20])).toEqual({ attempts: 1, counted: 0 });
    expect(await measure([undefined])).toEqual({ attempts: 1, counted: 0 });
  });

  test('measures again until they are', async () => {
    expect(await measure([21, 90, 10])).toEqual({ attempts: 3, counted: 2 });
  });

  test('takes the best one when there is no good one', async () => {
    expect(await measure([100, 30, 60, 40, 0])).toEqual({ attempts: MAX_ATTEMPTS, counted: 1 });
    expect(await measure([50, 50, 50, 50])).toEqual({ attempts: MAX_ATTEMPTS, counted: 0 });
  });

  test('measures once when that took as long as there is patience', async () => {
    const patience = new Patience({ each: 0, inAll: 60 });
    expect(await measure([100, 0], patience)).toEqual({ attempts: 1, counted: 0 });
  });

  test('measures everything once when repeating has taken as long as there is patience', async () => {
    const patience = new Patience({ each: 60, inAll: 0.01 });
    expect(await measure([100, 0], patience)).toEqual({ attempts: 2, counted: 1 });
    await patience.spendOn(() => sleep(20));
    expect(patience.isOver).toBe(true);
    expect(await measure([100, 0], patience)).toEqual({ attempts: 1, counted: 0 });
  });

  test('has no use for failures', async () => {
    await expect(
      measureInPlace(
        () => Promise.reject(new Error('failed')),
        new Patience({ each: 60, inAll: 60 }),
      ),
    ).rejects.toThrow('failed');
  });
});
