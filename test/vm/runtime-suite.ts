import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';

const REPOSITORY = join(import.meta.dirname, '../..');

/**
 * What depends on the kernel's version and on cgroup v2: mounts, cgroups, supervisors, pods. Paths in test/ begin so. Tests of
 * what is only computed are left out: emulation makes them slow and does not change them.
 */
const KERNEL_DEPENDENT = [
  'engine',
  'integration/run',
  'native-boundary',
  'native/cgroup',
  'native/mount',
  'native/process',
  'snapshot/snapshotter',
  'supervisor/',
];

/**
 * Test files that run once more in the virtual machine, relative to the root of the repository; only those with
 * CAIS_VM_TESTS in their path where that is set.
 */
export function runtimeSuite(): string[] {
  const tests = join(REPOSITORY, 'test');
  const suite = readdirSync(tests, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.ts'))
    .filter((path) => KERNEL_DEPENDENT.some((prefix) => path.startsWith(prefix)))
    .map((path) => relative(REPOSITORY, join(tests, path)))
    .filter((path) => path.includes(process.env['CAIS_VM_TESTS'] ?? ''))
    .sort();
  // Without a path vitest would run everything.
  if (suite.length === 0) throw new Error('No test file matches CAIS_VM_TESTS');
  return suite;
}
