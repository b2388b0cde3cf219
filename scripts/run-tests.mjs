// Runs vitest and ends with the line `N passed, N failed, N skipped`, whatever happens to vitest.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

process.chdir(join(import.meta.dirname, '..'));

/**
 * What test/fixtures/summary-reporter.ts leaves behind.
 * @typedef {object} Summary
 * @property {number} passed
 * @property {number} failed tests, files that could not be loaded and errors outside of tests
 * @property {readonly { readonly name: string, readonly reason: string }[]} skipped
 */

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
const failed = exitCode !== 0 && summary.failed === 0 ? 1 : summary.failed;
if (summary.skipped.length > 0) {
  console.log('\nSkipped:');
  for (const { name, reason } of summary.skipped) console.log(`  ${name}: ${reason}`);
}
console.log(`\n${summary.passed} passed, ${failed} failed, ${summary.skipped.length} skipped`);
process.exit(failed === 0 ? 0 : 1);

/** @returns {Summary} */
function readSummary() {
  try {
    return JSON.parse(readFileSync(summaryPath, 'utf8'));
  } catch {
    return { passed: 0, failed: 1, skipped: [] };
  }
}
