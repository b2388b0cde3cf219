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

/**
 * Boots a virtual machine under software emulation (no /dev/kvm, no network) and waits until it powers off.
 * @throws Error with the end of the console when it does not within `timeoutMs`.
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
        'tcg,thread=multi',
        '-cpu',
        'max',
        '-smp',
        '2',
        '-m',
        '3072',
      ],
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-nic', 'none'],
      ...['-kernel', options.kernelPath, '-initrd', options.initramfsPath],
      // tsc=reliable: the emulated clock passes no calibration and the kernel would go on to measure it.
      ...['-append', 'console=ttyS0 quiet panic=-1 rw tsc=reliable mitigations=off'],
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
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (...result) => resolve(result));
  });
  clearTimeout(timer);
  process.removeListener('exit', killWithUs);

  const output = { console: readLog(consolePath), results: readLog(resultsPath) };
  if (code !== 0) {
    throw new Error(
      `The virtual machine did not end by itself within ${options.timeoutMs} ms (${signal ?? `exit code ${code}`}): ${stderr}\n${output.console.slice(-4000)}`,
    );
  }
  return output;
}

function readLog(path: string): string {
  try {
    return readFileSync(path, 'utf8').replaceAll('\r', '');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}
