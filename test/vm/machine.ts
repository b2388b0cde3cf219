import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface MachineOptions {
  readonly kernelPath: string;
  readonly initramfsPath: string;
  /** Raw images; what the guest writes to them is thrown away at the end. The first is its root. */
  readonly disks: readonly string[];
  /** Private directory for what the guest prints. */
  readonly workDirectory: string;
  readonly timeoutMs: number;
}

export interface MachineOutput {
  /** What came by the second serial port. */
  readonly results: string;
  /** Kernel messages and stderr of the tests. */
  readonly console: string;
}

/** tsc=reliable: the emulated clock passes no calibration and the kernel would go on to measure it. */
const KERNEL_PARAMETERS =
  'console=ttyS0 quiet panic=-1 rw tsc=reliable mitigations=off softlockup_all_cpu_backtrace=1';

/** A processor of the guest that has not left its kernel for so long will not: the host is never still for as long. */
const LOCKUP_SECONDS = 120;
const WATCH_INTERVAL_MS = 5_000;

/**
 * Boots a virtual machine under software emulation (no /dev/kvm, no network) and waits until it powers off.
 *
 * Its processors take turns on one thread of the host (five minutes for what takes three with a thread each). With a thread each,
 * two runs of some dozens ended with both processors locked up in the guest's kernel for ever, before the first test had passed.
 * @throws Error with the kernel's first report of a lockup and the end of the console when it does not power off within
 * `timeoutMs`, or when a processor is locked up.
 */
export async function runMachine(options: MachineOptions): Promise<MachineOutput> {
  const consolePath = join(options.workDirectory, 'console.log');
  const resultsPath = join(options.workDirectory, 'results.log');
  const child = spawn(
    'qemu-system-x86_64',
    [
      ...[
        '-machine',
        'q35',
        '-accel',
        'tcg,thread=single',
        '-cpu',
        'max',
        '-smp',
        '2',
        '-m',
        '3072',
      ],
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-nic', 'none'],
      ...['-kernel', options.kernelPath, '-initrd', options.initramfsPath],
      ...['-append', KERNEL_PARAMETERS],
      ...['-serial', `file:${consolePath}`, '-serial', `file:${resultsPath}`],
      ...options.disks.flatMap((path) => [
        '-drive',
        `file=${path},format=raw,if=virtio,snapshot=on,cache=unsafe`,
      ]),
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = (stderr + chunk.toString()).slice(-10_000);
  });
  const killWithUs = () => child.kill('SIGKILL');
  process.once('exit', killWithUs);
  const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs);
  const watch = setInterval(() => {
    if (lockupSeconds(readLog(consolePath)) >= LOCKUP_SECONDS) child.kill('SIGKILL');
  }, WATCH_INTERVAL_MS);
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (...result) => resolve(result));
  }).finally(() => {
    clearTimeout(timer);
    clearInterval(watch);
    process.removeListener('exit', killWithUs);
  });

  const output = { console: readLog(consolePath), results: readLog(resultsPath) };
  if (code !== 0) {
    const why =
      lockupSeconds(output.console) >= LOCKUP_SECONDS
        ? `was ended, its processors having been locked up for ${lockupSeconds(output.console)} s`
        : `did not end by itself within ${options.timeoutMs} ms (${signal ?? `exit code ${code}`})`;
    throw new Error(`The virtual machine ${why}: ${stderr}\n${consoleExcerpt(output.console)}`);
  }
  return output;
}

const LOCKUP = /watchdog: BUG: soft lockup - CPU#\d+ stuck for (\d+)s!/g;

/** How long a processor of the guest had been locked up when its kernel last said so; 0 when it never did. */
function lockupSeconds(consoleText: string): number {
  return Number([...consoleText.matchAll(LOCKUP)].at(-1)?.[1] ?? 0);
}

/** The first lockup, which has the places in the kernel where the processors are, and the end. */
function consoleExcerpt(consoleText: string): string {
  const lockup = consoleText.search(LOCKUP);
  const first = lockup === -1 ? '' : `${consoleText.slice(lockup, lockup + 8000)}\n[...]\n`;
  return first + consoleText.slice(-4000);
}

function readLog(path: string): string {
  try {
    return readFileSync(path, 'utf8').replaceAll('\r', '');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}
