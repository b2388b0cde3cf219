import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const REPOSITORY = join(import.meta.dirname, '../..');

describe('run-tests.mjs', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'cais-run-tests-'));
    writeFileSync(
      join(directory, 'vitest.config.mjs'),
      'export default { test: { globals: true, include: ["*.test.mjs"] } };',
    );
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const runTests = (text: string) => {
    writeFileSync(join(directory, 'sample.test.mjs'), text);
    const args = ['scripts/run-tests.mjs', '--root', directory];
    const { status, stdout } = spawnSync(process.execPath, args, {
      cwd: REPOSITORY,
      encoding: 'utf8',
    });
    const lines = stdout.trim().split('\n');
    return { status, lastLine: lines.at(-1), lines };
  };

  test('ends with the counts, and says why a test was skipped', () => {
    const result = runTests(
      'test("a", () => {}); test("b", () => {}); test("c", ({ skip }) => skip("no moon"));',
    );
    expect(result).toMatchObject({ status: 0, lastLine: '2 passed, 0 failed, 1 skipped' });
    expect(result.lines.slice(-4, -2)).toEqual(['  no moon (1):', '    sample.test.mjs > c']);
  });

  test('fails with a test, and says last what failed', () => {
    const result = runTests('test("a", () => { throw new Error("no"); }); test("b", () => {});');
    expect(result).toMatchObject({ status: 1, lastLine: '1 passed, 1 failed, 0 skipped' });
    expect(result.lines.slice(-4, -2)).toEqual(['  sample.test.mjs > a', '    no']);
  });

  test('fails with a file that cannot be loaded', () => {
    expect(runTests('throw new Error("no");')).toMatchObject({
      status: 1,
      lastLine: '0 passed, 1 failed, 0 skipped',
    });
  });

  test('fails with an error outside of tests', () => {
    expect(
      runTests('test("a", () => { setImmediate(() => { throw new Error("no"); }); });'),
    ).toMatchObject({ status: 1, lastLine: '1 passed, 1 failed, 0 skipped' });
  });

  test('fails where there is no test', () => {
    expect(runTests('')).toMatchObject({ status: 1 });
  });
});
