import { describe, expect, test } from 'vitest';
import { computeGoals, isMet } from '../../bench/report/goals.mjs';
import { renderPage } from '../../bench/report/page.mjs';
import { plotHeadline, plotWorkload } from '../../bench/report/plots.mjs';
import { selectQuestion } from '../../bench/report/selection.mjs';
import { makePullResults, makeRun } from './made-up-results.js';

const SUBJECT = { question: 'pull', workload: 'app', compression: 'gzip' } as const;

describe('computeGoals()', () => {
  const goals = computeGoals(makePullResults(), 'pull');
  const find = (what: string) => goals.find((goal) => goal.what.startsWith(what));

  test('compares each form with its own limit', () => {
    expect(find('image form: time by its limit')).toMatchObject({ value: 1.1, bound: 1.25 });
    const directory = find('directory form: time by its limit');
    expect(directory?.value).toBe(1.5);
    expect(directory && isMet(directory)).toBe(false);
  });

  test('compares with the fastest peer that verifies, erofs snapshotter included', () => {
    const goal = find('image form: faster than the fastest peer that verifies');
    expect(goal?.against).toBe('containerd 2.1, erofs snapshotter <igzip>');
    expect(goal?.value).toBeCloseTo(3.9 / 1.1);
    expect(goal?.bound).toBe(2.5);
  });

  test('leaves the erofs snapshotter out of the default ones', () => {
    const goal = find('image form: faster than the fastest containerd, default snapshotter');
    expect(goal?.value).toBeCloseTo(9.9 / 1.1);
    expect(find('directory form: faster than')?.value).toBeCloseTo(9.9 / 3);
  });

  test('ignores peers that verify nothing and runs that failed', () => {
    const results = makePullResults();
    const cheat = makeRun(SUBJECT, {
      contestant: 'curl',
      title: 'curl',
      rounds: [0.1],
      verifies: false,
    });
    const goal = computeGoals({ ...results, runs: [...results.runs, cheat] }, 'pull').find(
      ({ what }) => what.includes('that verifies'),
    );
    expect(goal?.against).toContain('erofs');
  });

  test('judges the concurrent pulls', () => {
    const [time, delay] = goals.filter(({ what }) => what.startsWith('eight pulls'));
    expect(time && isMet(time)).toBe(true);
    expect(delay?.value).toBe(25);
    expect(delay && isMet(delay)).toBe(false);
  });

  test('does not judge what was not measured', () => {
    const goal = computeGoals({ ...makePullResults(), runs: [] }, 'pull')[0];
    expect(goal && isMet(goal)).toBeUndefined();
  });

  test('asks JavaScript and igzip into tar in the question extract only', () => {
    const extract = { question: 'extract', workload: 'app', compression: 'gzip' } as const;
    const results = makePullResults();
    const runs = [
      makeRun(extract, { contestant: 'cais-image', title: 'cais', rounds: [1], form: 'image' }),
      makeRun(extract, { contestant: 'tar-igzip', title: 'igzip', rounds: [3], verifies: false }),
      makeRun(extract, { contestant: 'javascript', title: 'JavaScript', rounds: [76] }),
    ];
    const limits = results.limits.map((limit) => ({ ...limit, ...extract }));
    const values = computeGoals({ ...results, runs, limits }, 'extract').map(
      ({ what, value }) => `${what}: ${value}`,
    );
    expect(values).toContain('image form: faster than igzip into tar: 3');
    expect(values).toContain('image form: faster than JavaScript: 76');
    expect(goals.some(({ what }) => what.includes('JavaScript'))).toBe(false);
  });
});

describe('renderPage()', () => {
  const page = renderPage(makePullResults(), { question: 'pull', notes: 'Why it was missed.' });

  test('shows median, spread, CPU seconds, memory and ratios of a contestant', () => {
    expect(page).toContain(
      '| containerd 2.1, overlayfs, igzip | 9.90 | 9.70–12.0 (3) | 14.9 | 50 | 9.00 | 3.30 | 4.95 | yes |',
    );
  });

  test('says which goals were met, and by how much others were missed', () => {
    expect(page).toContain('| **missed** by 20 % |');
    expect(page).toContain('6 met, 3 missed.');
  });

  test('reports contestants without a result by the first line of their error', () => {
    expect(page).toContain('- podman 5.8: no result: no space left on device\n');
    expect(page).not.toContain('at line 2');
  });

  test('has the limit among the contestants, and its stages', () => {
    expect(page).toContain('| _limit, image form_ | 1.00 |');
    expect(page).toContain('| app, gzip | directory | 2.00 | 2.00 (2.00) |  | 0.30 (0.25) |');
  });

  test('has notes, afterwards, trees, machine, versions, command and what is missing', () => {
    expect(page).toContain('Why it was missed.');
    expect(page).toContain('| app | cais, image form | 900 | 1.50 | 0.50 | 0.01 |  |');
    expect(page).toContain('1 of 2 agree');
    expect(page).toContain('`usr/bin/env: mode 755`');
    expect(page).toContain('6.18.5');
    expect(page).toContain('| containerd-2.1-erofs | 2.1.9 |');
    expect(page).toContain('`npm run bench -- pull`');
    expect(page).toContain('- without cri-o: not packaged');
    expect(page).toContain('p99.9 25.0 ms');
  });
});

describe('a page of which the processors were looked at', () => {
  const near = { looks: 100, far: 0, together: 0 };
  const results = makePullResults();
  const [image, ...others] = results.runs;
  if (image === undefined) throw new Error('There is a first run');
  const page = renderPage(
    {
      ...results,
      runs: [
        {
          ...image,
          attempts: [
            // 3.9 s and 9.9 s of the peers are no longer 2.5 and 6 times as much.
            [
              { seconds: 1.8, placement: { looks: 100, far: 60, together: 20 } },
              { seconds: 1, placement: near },
            ],
            [{ seconds: 1.1, placement: near }],
            [
              { seconds: 1.9, placement: { looks: 100, far: 90, together: 0 } },
              { seconds: 1.3, placement: { looks: 100, far: 40, together: 0 } },
            ],
          ],
        },
        ...others,
      ],
    },
    { question: 'pull' },
  );

  test('says how often they were in the wrong place, and what was measured again', () => {
    expect(page).toContain('in 38.0 % of 500 looks');
    expect(page).toContain('both on one core in 4.00 %');
    expect(page).toContain('2 of 5; 1 of 3 rounds had no better one in up to 4 attempts');
  });

  test('says what the goals would be without measuring again', () => {
    expect(page).toContain('6 met, 3 missed.');
    expect(page).toContain(
      'Had the first attempt of each round counted, 3 of 9 goals would be met',
    );
  });

  test('says nothing where nobody looked', () => {
    expect(renderPage(results, { question: 'pull' })).not.toContain('third-level cache');
  });
});

describe('plots', () => {
  test('show every contestant with a result, and both limits', () => {
    const svg = plotWorkload(makePullResults(), { question: 'pull', workload: 'app' });
    expect(svg).toContain('cais, image form');
    expect(svg).toContain('containerd 2.1, erofs snapshotter &lt;igzip&gt;');
    expect(svg).not.toContain('podman');
    expect(svg).toContain('limit of this machine, image form: 1.00 s');
    expect(svg).toContain('limit of this machine, directory form: 2.00 s');
  });

  test('have no headline when app was not pulled', () => {
    expect(plotHeadline(makePullResults())).toContain('723 MB, 48,610 entries');
    expect(plotHeadline({ ...makePullResults(), runs: [] })).toBeUndefined();
  });
});

test('selectQuestion() leaves out the other question and keeps the last of double entries', () => {
  const results = makePullResults();
  const [first] = results.afterwards;
  const run = makeRun(
    { ...SUBJECT, question: 'extract' },
    {
      contestant: 'cais-image',
      title: 'cais',
      rounds: [1],
    },
  );
  const both = {
    ...results,
    runs: [...results.runs, run],
    afterwards: [...results.afterwards, ...(first ? [{ ...first, diskBytes: 1 }] : [])],
  };
  const extract = selectQuestion(both, 'extract');
  expect(extract.runs).toEqual([run]);
  expect(extract.limits).toEqual([]);
  expect(extract.afterwards.map(({ diskBytes }) => diskBytes)).toEqual([1]);
  expect(extract.concurrent).toBeUndefined();
});
