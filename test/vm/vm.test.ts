import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { repositoryDisk, systemDisk } from './guest-disks.js';
import {
  type GuestFileResult,
  parseGuestResults,
  REPORT_BEGIN,
  REPORT_END,
} from './guest-results.js';
import { writeInitramfs } from './initramfs.js';
import { fetchKernel } from './kernel.js';
import { type MachineOutput, runMachine } from './machine.js';
import { runtimeSuite } from './runtime-suite.js';

const SUITE = runtimeSuite();
const TIMEOUT_MS = 1_100_000;

/** What is refused before anything starts is the same on every kernel, and each start of cais takes seconds here. */
const TESTS = '^(?!.*refuses, with a clear message)';

// Emulated, everything takes ten to twenty times as long.
const GUEST_RUN = `
echo "kernel $(uname -r)"
echo "cgroup $(stat -f -c %T /sys/fs/cgroup)"
CI=true CAIS_TIME_FACTOR=10 node node_modules/vitest/vitest.mjs run --project main --testNamePattern='${TESTS}' \\
  --reporter=default --reporter=json --outputFile.json=/run/report.json ${SUITE.join(' ')} >/dev/console 2>&1
echo '${REPORT_BEGIN}'
cat /run/report.json
echo '${REPORT_END}'
`;

/** Debian 12's: the guest runs what was built on this machine. */
const GUEST_GLIBC = [2, 36] as const;

/** Why no machine can run here; undefined when one can. */
function reasonToSkip(): string | undefined {
  if (process.arch !== 'x64')
    return `the virtual machine is x86-64, this machine is ${process.arch}`;
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  const [major = 0, minor = 0] = (header.glibcVersionRuntime ?? '').split('.').map(Number);
  if (major !== GUEST_GLIBC[0] || minor > GUEST_GLIBC[1]) {
    return `what is built here needs glibc ${major}.${minor}, and the guest's Debian 12 has ${GUEST_GLIBC.join('.')}`;
  }
  return undefined;
}

const skipReason = reasonToSkip();
let directory: string;
let output: MachineOutput;
let results: Map<string, GuestFileResult>;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'cais-vm-'));
  if (skipReason !== undefined) return;
  const kernel = await fetchKernel();
  const initramfsPath = join(directory, 'initramfs');
  const repository = join(directory, 'repository.ext4');
  await writeInitramfs(initramfsPath, kernel);
  const disks = [await systemDisk(kernel), repository];
  await repositoryDisk(repository, GUEST_RUN);
  output = await runMachine({
    kernelPath: kernel.imagePath,
    initramfsPath,
    disks,
    workDirectory: directory,
    timeoutMs: TIMEOUT_MS,
  });
  try {
    results = parseGuestResults(output.results, { directory: '/cais' });
  } catch (cause) {
    throw new Error(`${cause}; the end of its console:\n${output.console.slice(-8000)}`, { cause });
  }
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test('the machine runs Linux 6.1 with nothing but cgroup v2', (context) => {
  if (skipReason !== undefined) context.skip(skipReason);
  expect(output.results).toMatch(/^kernel 6\.1\./m);
  expect(output.results).toMatch(/^cgroup cgroup2fs$/m);
});

test.for(SUITE)('on Linux 6.1: %s', (path, context) => {
  if (skipReason !== undefined) context.skip(skipReason);
  const result = results.get(path);
  // One text: of an array a report shows only its length.
  expect(result?.failures.join('\n')).toBe('');
  if (result?.passed === 0) {
    context.skip(`each of its tests was skipped there: ${result.skipped.join(', ')}`);
  }
});
