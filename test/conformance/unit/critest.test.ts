import { describe, expect, test } from 'vitest';
import { parseArguments } from '../arguments.mjs';
import { readReport, type Spec } from '../critest.mjs';
import { judge } from '../expectations.mjs';
import { describeRun } from '../report.mjs';

describe('readReport()', () => {
  const report = (...specs: object[]) => JSON.stringify([{ SpecReports: specs }]);
  const spec = (State: string, rest: object = {}) => ({
    LeafNodeType: 'It',
    ContainerHierarchyTexts: ['[k8s.io] Pods', 'basic'],
    LeafNodeText: 'should run',
    State,
    RunTime: 1_500_000_000,
    ...rest,
  });

  test('joins the texts to the name that a focus sees', () => {
    expect(readReport(report(spec('passed')))).toEqual([
      {
        name: '[k8s.io] Pods basic should run',
        state: 'passed',
        message: '',
        location: '',
        seconds: 1.5,
        output: '',
      },
    ]);
  });

  test.each(['failed', 'panicked', 'timedout', 'interrupted', 'aborted'])(
    'takes "%s" for a failure, with message and place',
    (state) => {
      const failure = {
        Failure: {
          Message: 'wrong',
          Location: { FileName: '/x/sigs.k8s.io/cri-tools@v1.36.0/pkg/a.go', LineNumber: 7 },
        },
      };
      expect(readReport(report(spec(state, failure)))).toMatchObject([
        { state: 'failed', message: 'wrong', location: 'pkg/a.go:7' },
      ]);
    },
  );

  test('leaves set-ups out unless they failed', () => {
    const setup = { LeafNodeType: 'BeforeSuite', LeafNodeText: '', ContainerHierarchyTexts: null };
    expect(readReport(report(spec('passed', setup)))).toEqual([]);
    expect(readReport(report(spec('failed', setup)))).toMatchObject([{ name: 'BeforeSuite' }]);
  });

  test('reads a report without specs', () => {
    expect(readReport('[{"SpecReports":null}]')).toEqual([]);
  });
});

describe('judge()', () => {
  const spec = (name: string, message: string): Spec => ({
    name,
    state: 'skipped',
    message,
    location: '',
    seconds: 0,
    output: '',
  });
  const own = { isPeer: false, handler: undefined };

  test('says why what cannot run here is skipped', () => {
    const name = '[k8s.io] Image Manager public image with digest should be pulled and removed';
    expect(judge(spec(name, ''), own)).toMatchObject({
      state: 'skipped',
      reason: expect.stringContaining('digest'),
    });
  });

  test('lets specs of security modules skip themselves', () => {
    expect(judge(spec('[k8s.io] AppArmor x', 'AppArmor is disabled'), own)).toMatchObject({
      state: 'skipped',
      reason: 'AppArmor is disabled',
    });
  });

  test('takes a feature that the runtime does not report for a failure', () => {
    const skipped = spec('[k8s.io] Security Context UserNamespaces x', 'no runtime handler');
    expect(judge(skipped, own)).toMatchObject({ state: 'failed' });
    expect(judge(skipped, { ...own, handler: 'runc' })).toMatchObject({ state: 'skipped' });
    expect(judge(skipped, { ...own, isPeer: true })).toMatchObject({ state: 'skipped' });
  });
});

describe('describeRun()', () => {
  test('ends with the totals, and names failures and the reasons of skips', () => {
    const spec: Spec = {
      name: 'a',
      state: 'failed',
      message: 'no',
      location: 'b.go:1',
      seconds: 1,
      output: 'said',
    };
    const text = describeRun(
      [
        { name: 'a', state: 'failed', reason: 'no', spec },
        { name: 'b', state: 'skipped', reason: 'because', spec },
        { name: 'c', state: 'passed', reason: '', spec },
      ],
      2,
    );
    expect(text).toContain('FAILED a\n    no\n    at b.go:1\n  | said');
    expect(text).toContain('Skipped (1): because\n    b');
    expect(text.split('\n').at(-1)).toBe('1 passed, 1 failed, 1 skipped in 2.0 s');
  });
});

describe('parseArguments()', () => {
  test('runs once, by one process, against cais, unless it is told otherwise', () => {
    expect(parseArguments([])).toMatchObject({ repeat: 1, parallel: 1, runtime: 'cais' });
    expect(
      parseArguments(['--focus', 'a', '--focus', 'b', '--parallel', '8', '--websocket']),
    ).toMatchObject({ focus: ['a', 'b'], parallel: 8, websocket: true });
    expect(parseArguments(['--runtime-command', 'my "$SOCKET"']).runtime).toBe('my "$SOCKET"');
  });

  test.each([
    [['--parallel', '0'], '--parallel'],
    [['--repeat', 'x'], '--repeat'],
    [['--runtime', 'docker'], '--runtime'],
    [['--cri-tools', '1.2'], '--cri-tools'],
    [['--unknown'], '--unknown'],
  ])('refuses %j', (argv, part) => {
    expect(() => parseArguments(argv)).toThrow(part);
  });
});
