import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Ballast, BallastError } from '../../bench/ballast.mjs';
import type { Contestant, Placement, RunCost, Workload } from '../../bench/contract.js';
import { measureLimitRound, summarizeLimits } from '../../bench/limit/measure.mjs';
import { runOnce } from '../../bench/one-run.mjs';
import { Patience, type PlacementWatch } from '../../bench/placement.mjs';
import {
  QUICK_LONG_SECONDS,
  type RoundsOptions,
  runRounds,
  takesPart,
} from '../../bench/rounds.mjs';
import { UndoStack } from '../../bench/undo-stack.mjs';

vi.mock('../../bench/one-run.mjs', () => ({ runOnce: vi.fn() }));
vi.mock('../../bench/limit/measure.mjs', () => ({
  measureLimitRound: vi.fn(),
  summarizeLimits: vi.fn(),
}));

const WORKLOAD: Workload = {
  name: 'debian',
  compression: 'gzip',
  layoutDirectory: '/nowhere',
  reference: '',
  layers: [],
  manifestDigest: '',
  entries: 1,
  tarBytes: 1,
};
const NEAR: Placement = { looks: 10, far: 0, together: 0 };
const FAR: Placement = { looks: 10, far: 9, together: 0 };

/** Answered in the order in which they are asked for; when there are none left, a second of one MiB. */
let costs: Map<string, (Partial<RunCost> | Error)[]>;
/** What ran, in its order. */
let ran: string[];
let said: string[];

beforeEach(() => {
  costs = new Map();
  ran = [];
  said = [];
  vi.mocked(measureLimitRound).mockImplementation(async () => {
    ran.push('limit');
    return { layers: [] };
  });
  vi.mocked(summarizeLimits).mockReturnValue([]);
  vi.mocked(runOnce).mockImplementation(async ({ name }, { beforehand }) => {
    ran.push(beforehand === undefined ? name : `${name} inspected`);
    const cost = costs.get(name)?.shift() ?? {};
    if (cost instanceof Error) throw cost;
    return { seconds: 1, cpuSeconds: 2, peakMemoryBytes: 2 ** 20, placement: NEAR, ...cost };
  });
});

afterEach(() => {
  vi.resetAllMocks();
});

function makeContestant(name: string, facts: Partial<Contestant> = {}): Contestant {
  const nothing = async () => {};
  return {
    name,
    title: name,
    product: name,
    version: '1',
    questions: ['extract'],
    verifies: true,
    form: 'image',
    prepare: nothing,
    execute: async () => 1,
    tree: nothing,
    cleanup: nothing,
    ...facts,
  };
}

function run(contestants: readonly Contestant[], options: Partial<RoundsOptions> = {}) {
  return runRounds({
    question: 'extract',
    workload: WORKLOAD,
    contestants,
    rounds: 3,
    isQuick: false,
    undo: new UndoStack(),
    ballast: {} as Ballast,
    placement: { patience: new Patience({ each: 60, inAll: 60 }) } as PlacementWatch,
    say: (message) => said.push(message),
    ...options,
  });
}

describe('runRounds()', () => {
  test('lets everybody run in each round after the limit, in an order that moves on', async () => {
    const { runs } = await run(['a', 'b', 'c'].map((name) => makeContestant(name)));
    expect(ran.join(' ')).toBe('limit a b c limit b c a limit c a b');
    expect(runs.map((each) => each.rounds.length)).toEqual([3, 3, 3]);
    expect(vi.mocked(summarizeLimits).mock.calls[0]?.[0]).toHaveLength(3);
  });

  test('gives medians of time and CPU seconds and the maximum of memory', async () => {
    costs.set('a', [
      { seconds: 3, cpuSeconds: 1, peakMemoryBytes: 5 },
      { seconds: 1, cpuSeconds: 4, peakMemoryBytes: 9 },
      { seconds: 2, cpuSeconds: 3, peakMemoryBytes: 7 },
    ]);
    const { runs } = await run([makeContestant('a', { title: 'A', verifies: false })]);
    expect(runs).toMatchObject([
      {
        contestant: 'a',
        title: 'A',
        verifies: false,
        rounds: [3, 1, 2],
        medianSeconds: 2,
        cpuSeconds: 3,
        peakMemoryBytes: 9,
      },
    ]);
  });

  test('repeats what ran with the processors apart: the attempt beside counts, slower or not, and all are told', async () => {
    costs.set('a', [
      { seconds: 1, peakMemoryBytes: 9, placement: FAR },
      { seconds: 5, peakMemoryBytes: 3 },
    ]);
    const { runs } = await run([makeContestant('a')], { rounds: 1 });
    expect(runs[0]).toMatchObject({
      rounds: [5],
      attempts: [
        [
          { seconds: 1, placement: FAR },
          { seconds: 5, placement: NEAR },
        ],
      ],
      peakMemoryBytes: 9,
    });
    expect(said.filter((line) => line.includes('processors far 9'))).toHaveLength(1);
  });

  test('runs a slow one once, wherever the processors are', async () => {
    costs.set('slow', [{ placement: FAR }]);
    const { runs } = await run([makeContestant('slow', { slow: true }), makeContestant('a')]);
    expect(ran.join(' ')).toBe('limit slow a limit a limit a');
    expect(runs.map((each) => each.rounds.length)).toEqual([1, 3]);
  });

  test.each([
    { isQuick: true, rounds: 1 },
    { isQuick: false, rounds: 3 },
  ])('quick $isQuick: one whose first round is long has $rounds', async ({ isQuick, rounds }) => {
    costs.set('a', [{ seconds: QUICK_LONG_SECONDS + 0.1 }]);
    costs.set('b', [{ seconds: QUICK_LONG_SECONDS }]);
    const { runs } = await run([makeContestant('a'), makeContestant('b')], { isQuick });
    expect(runs.map((each) => each.rounds.length)).toEqual([rounds, 3]);
  });

  test('goes on without one that failed, keeps what it had, and says why', async () => {
    costs.set('a', [{}, new Error('refused', { cause: new Error('no such layer') })]);
    const { runs } = await run([makeContestant('a'), makeContestant('b')]);
    expect(ran.join(' ')).toBe('limit a b limit b a limit b');
    expect(runs[0]).toMatchObject({ rounds: [1], error: 'refused: no such layer' });
    expect(runs[1]).not.toHaveProperty('error');
    expect(said).toContain('extract debian/gzip 2/3: a failed: refused: no such layer');
  });

  test('has no figures of one that failed in its first round', async () => {
    costs.set('a', [new Error('no such program')]);
    const { runs } = await run([makeContestant('a')]);
    const nothing = { rounds: [], medianSeconds: 0, cpuSeconds: 0, peakMemoryBytes: 0 };
    expect(runs[0]).toMatchObject({ ...nothing, error: 'no such program' });
  });

  test('ends when there is no ballast any more: nobody could be compared', async () => {
    costs.set('a', [new BallastError('the ballast ended')]);
    await expect(run([makeContestant('a')])).rejects.toThrow('the ballast ended');
  });

  test('ends when everything is being ended: what ran then has not failed', async () => {
    const undo = new UndoStack();
    vi.mocked(runOnce).mockImplementation(async () => {
      await undo.closeAll();
      throw new Error('killed');
    });
    await expect(run([makeContestant('a')], { undo })).rejects.toThrow('killed');
  });

  test('inspects the first attempt of the first round, and no other', async () => {
    costs.set('a', [{ placement: FAR }]);
    await run([makeContestant('a')], { rounds: 2, inspect: () => ({ beforehand: () => {} }) });
    expect(ran.join(' ')).toBe('limit a inspected a limit a');
  });

  test('leaves out whom the workload is not meant for', async () => {
    const { runs } = await run([makeContestant('a'), makeContestant('b', { questions: ['pull'] })]);
    expect(runs.map((each) => each.contestant)).toEqual(['a']);
  });
});

describe('takesPart()', () => {
  const all = { question: 'extract', workload: WORKLOAD, isQuick: false } as const;
  const zstd = { ...WORKLOAD, compression: 'zstd' } as const;
  const big = { ...WORKLOAD, name: 'big' } as const;

  test.each([
    ['of the question', {}, all, true],
    ['of another question', {}, { ...all, question: 'pull' }, false],
    ['of another compression', { compressions: ['gzip'] }, { ...all, workload: zstd }, false],
    ['slow', { slow: true }, all, true],
    ['slow, the large workload', { slow: true }, { ...all, workload: big }, false],
    ['slow, zstd', { slow: true }, { ...all, workload: zstd }, true],
    ['slow, zstd, quick', { slow: true }, { ...all, workload: zstd, isQuick: true }, false],
    ['fast, zstd, quick', {}, { ...all, workload: zstd, isQuick: true }, true],
  ] as const)('%s', (_name, facts, options, expected) => {
    expect(takesPart(makeContestant('a', facts), options)).toBe(expected);
  });
});
