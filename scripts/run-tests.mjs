// Runs vitest and ends with the line `N passed, N failed, N skipped`, whatever happens to vitest.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

process.chdir(join(import.meta.dirname, '..'));

/**
 * @typedef {{ readonly name: string, readonly reason: string }} Outcome
 *
 * What test/fixtures/summary-reporter.ts leaves behind.
 * @typedef {object} Summary
 * @property {number} passed
 * @property {readonly Outcome[]} failed tests, files that could not be loaded and errors outside of tests
 * @property {readonly Outcome[]} skipped
 */

/** Characters of a failure's message that the summary repeats. */
const REASON_LENGTH = 1_000;

const directory = mkdtempSync(join(tmpdir(), 'cais-test-run-'));
const summaryPath = join(directory, 'summary.json');
const child = spawn(
  process.execPath,
  [
    'node_modules/vitest/vitest.mjs',
    'run',
    '--reporter=default',
    `--reporter=${join(process.cwd(), 'test/fixtures/summary-reporter.ts')}`,
    ...process.argv.slice(2),
  ],
  {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, CAIS_TEST_SUMMARY: summaryPath },
  },
);
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
  process.on(signal, () => child.kill(signal));
}
const exitCode = await new Promise((resolve) => {
  child.once('error', () => resolve(1));
  child.once('exit', (code) => resolve(code ?? 1));
});

const summary = readSummary();
rmSync(directory, { recursive: true, force: true });
// Vitest may fail where no test did: a global teardown that found leaks, no test found at all.
const failed = exitCode !== 0 && summary.failed.length === 0 ? 1 : summary.failed.length;
// What failed comes last: whoever keeps only the end of a long log keeps that.
if (summary.skipped.length > 0) {
  console.log('\nSkipped:');
  for (const [reason, names] of byReason(summary.skipped)) {
    console.log(`  ${reason} (${names.length}):`);
    for (const name of names) console.log(`    ${name}`);
  }
}
if (summary.failed.length > 0) {
  console.log('\nFailed:');
  for (const { name, reason } of summary.failed) {
    console.log(`  ${name}`);
    console.log(reason.slice(0, REASON_LENGTH).replace(/^/gm, '    '));
  }
}
console.log(`\n${summary.passed} passed, ${failed} failed, ${summary.skipped.length} skipped`);
process.exit(failed === 0 ? 0 : 1);

/**
 * @param {readonly Outcome[]} outcomes
 * @returns {Map<string, string[]>}
 */
function byReason(outcomes) {
  /** @type {Map<string, string[]>} */
  const groups = new Map();
  for (const { name, reason } of outcomes) {
    const names = groups.get(reason);
    if (names === undefined) groups.set(reason, [name]);
    else names.push(name);
  }
  return groups;
}

/** @returns {Summary} */
function readSummary() {
  try {
    return JSON.parse(readFileSync(summaryPath, 'utf8'));
  } catch {
    return {
      passed: 0,
      failed: [{ name: 'vitest', reason: `ended (exit ${exitCode}) without a summary` }],
      skipped: [],
    };
  }
}
