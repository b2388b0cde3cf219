import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { repositoryDisk, systemDisk } from './guest-disks.js';
import { writeInitramfs } from './initramfs.js';
import { fetchKernel } from './kernel.js';
import { runMachine } from './machine.js';

const TIMEOUT_MS = 600_000;

/** What the kernel says of a processor that is locked up, said by the guest itself: a short one passes, a long one does not. */
const GUEST_RUN = `
echo '<0>watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [first:1]' >/dev/kmsg
echo '<0>RIP: 0010:where_it_is+0x1/0x2' >/dev/kmsg
sleep 12
echo 'still there'
echo '<0>watchdog: BUG: soft lockup - CPU#1 stuck for 130s! [last:1]' >/dev/kmsg
sleep 600
`;

test('a processor that is locked up ends the machine, and the error has the first report', async (context) => {
  if (process.arch !== 'x64') context.skip(`the kernel is x86-64, this machine ${process.arch}`);
  const directory = mkdtempSync(join(tmpdir(), 'cais-vm-'));
  try {
    const kernel = await fetchKernel();
    const initramfsPath = join(directory, 'initramfs');
    const repository = join(directory, 'repository.ext4');
    await writeInitramfs(initramfsPath, kernel);
    await repositoryDisk(repository, GUEST_RUN);
    const run = runMachine({
      kernelPath: kernel.imagePath,
      initramfsPath,
      disks: [await systemDisk(kernel), repository],
      workDirectory: directory,
      timeoutMs: TIMEOUT_MS,
    });
    await expect(run).rejects.toThrow(
      /processors having been locked up for 130 s: .*for 26s! \[first:1\]\n.*where_it_is.*\[last:1\]/s,
    );
    expect(readFileSync(join(directory, 'results.log'), 'utf8')).toContain('still there');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
