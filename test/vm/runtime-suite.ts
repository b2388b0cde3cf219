import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';

const REPOSITORY = join(import.meta.dirname, '../..');

/** What depends on the kernel: everything that mounts, starts, limits, connects or kills. Directories and files of test/. */
const KERNEL_DEPENDENT = [
  'container',
  'engine',
  'integration',
  'native',
  'native-boundary.test.ts',
  'pod',
  'runtime',
  'sandbox',
  'snapshot',
  'suites',
];

/**
 * Test files that run once more in the virtual machine, relative to the root of the repository; only those with
 * CAIS_VM_TESTS in their path where that is set.
 */
export function runtimeSuite(): string[] {
  const tests = join(REPOSITORY, 'test');
  const suite = readdirSync(tests, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.ts'))
    .filter((path) => KERNEL_DEPENDENT.includes(path.split('/')[0] ?? ''))
    .map((path) => relative(REPOSITORY, join(tests, path)))
    .filter((path) => path.includes(process.env['CAIS_VM_TESTS'] ?? ''))
    .sort();
  // Without a path vitest would run everything.
  if (suite.length === 0) throw new Error('No test file matches CAIS_VM_TESTS');
  return suite;
}
