import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, describe, expect, test } from 'vitest';
import type { Workload } from '../../bench/contract.js';
import { openPlace } from '../../bench/place.mjs';
import { cgroupMountpoints } from '../fixtures/leak-check.js';

const WORKLOAD: Workload = {
  name: 'debian',
  compression: 'gzip',
  layoutDirectory: '/nonexistent',
  reference: '',
  layers: [],
  manifestDigest: '',
  entries: 0,
  tarBytes: 0,
};

/** Keeps one processor busy for as many seconds of its time as it is told. */
const BURN =
  'const end = Number(process.argv[1]) * 1e6; while (process.cpuUsage().user + process.cpuUsage().system < end);';

const open: { close(): Promise<void> }[] = [];

async function place() {
  const opened = await openPlace({
    question: 'extract',
    workload: WORKLOAD,
    directory: tmpdir(),
  });
  open.push(opened);
  return opened;
}

afterEach(async () => {
  for (const opened of open.splice(0)) await opened.close();
});

/** A process that its parent has not asked for yet, as the first process of a container may not, has ended all the same. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** The benchmark's cgroup that a process is in, as a path below the mount point of its hierarchy. */
function placeOf(pid: number): string {
  return /:(\/cais-bench\/.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1] ?? '';
}

describe('measure()', () => {
  test('counts the CPU seconds of all processes of the place, and of no other', async () => {
    const { place: here, measure } = await place();
    const burn = [process.execPath, '-e', BURN];
    await here.run([...burn, '0.2']);

    const cost = await measure(async () => {
      const own = process.cpuUsage();
      for (let spent = own; spent.user + spent.system < 400_000; ) spent = process.cpuUsage(own);
      // A grandchild.
      const { seconds } = await here.run(['/bin/sh', '-c', '"$@"; :', 'sh', ...burn, '0.3']);
      return seconds;
    });

    expect(cost.seconds).toBeGreaterThan(0.29);
    expect(cost.cpuSeconds).toBeGreaterThan(0.29);
    expect(cost.cpuSeconds).toBeLessThan(0.65);
  });

  test('sees the memory of several processes at once', async () => {
    const { place: here, measure } = await place();
    const mebibytes = 64;
    const fill = [
      process.execPath,
      '-e',
      `const filled = Buffer.alloc(${mebibytes} << 20, 1); setTimeout(() => filled.length, 400)`,
    ];

    const cost = await measure(async () => {
      await Promise.all([here.run(fill), here.run(fill)]);
      return 1;
    });

    expect(cost.peakMemoryBytes).toBeGreaterThan((2 * mebibytes) << 20);
    expect(cost.peakMemoryBytes).toBeLessThan(600 << 20);
  });

  test('knows the peak of a process that lives on, whenever it was', async () => {
    const { place: here, measure } = await place();
    const daemon = await here.daemon([
      process.execPath,
      '-e',
      `process.stdin.once('data', () => {
         const top = Buffer.alloc(96 << 20, 1);
         console.log(\`had \${top.length}\`);
       });
       console.log('ready')`,
    ]);
    await daemon.until(/^ready$/);

    const cost = await measure(async () => {
      daemon.write('go');
      await daemon.until(/^had/);
      return 1;
    });

    expect(cost.peakMemoryBytes).toBeGreaterThan(96 << 20);
  });
});

describe('run()', () => {
  test('hands over the standard input and returns what was printed', async () => {
    const { place: here } = await place();
    const result = await here.run(['/bin/sh', '-c', 'cat; echo "$SAID" >&2; pwd'], {
      stdinPath: '/proc/sys/kernel/ostype',
      env: { SAID: 'to stderr' },
      cwd: '/usr',
    });
    expect(result).toMatchObject({ stdout: 'Linux\n/usr\n', stderr: 'to stderr\n' });
  });

  test('runs the command in another root', async () => {
    const { place: here } = await place();
    const result = await here.run(['/bin/pwd'], { root: '/', cwd: '/etc' });
    expect(result.stdout).toBe('/etc\n');
  });

  test('rejects with the last words of a command that fails', async () => {
    const { place: here } = await place();
    await expect(here.run(['/bin/sh', '-c', 'echo too bad >&2; exit 3'])).rejects.toThrow(
      /ended with status 3: too bad/,
    );
  });

  test('kills a command that takes too long', async () => {
    const { place: here } = await place();
    await expect(here.run(['sleep', '60'], { timeoutMs: 50 })).rejects.toThrow(
      /was killed after 50 ms/,
    );
  });

  test('does not wait for what the command leaves in the background', async () => {
    const { place: here } = await place();
    const { seconds } = await here.run(['/bin/sh', '-c', 'sleep 60 & echo $!']);
    expect(seconds).toBeLessThan(5);
  });
});

describe('daemon()', () => {
  test('answers line by line, the same answer several times', async () => {
    const { place: here } = await place();
    const daemon = await here.daemon(['/bin/sh', '-c', 'while read n; do echo "done $n"; done']);
    for (const n of [1, 2, 3]) {
      daemon.write(String(n));
      await daemon.until(/^done/);
      expect(daemon.log().trim().split('\n').at(-1)).toBe(`done ${n}`);
    }
  });

  test('rejects when the process ends before it says what was waited for', async () => {
    const { place: here } = await place();
    const daemon = await here.daemon(['/bin/sh', '-c', 'echo no; exit 1']);
    await expect(daemon.until(/yes/)).rejects.toThrow(/ended before \/yes\/: no/);
  });

  test('rejects when the time is over', async () => {
    const { place: here } = await place();
    const daemon = await here.daemon(['sleep', '60']);
    await expect(daemon.until(/yes/, 20)).rejects.toThrow(/kept silent before/);
  });
});

test('close() ends daemons, orphans and processes in cgroups below, and removes the cgroup', async () => {
  const { place: here, close } = await place();
  const daemon = await here.daemon(['sleep', '60']);
  const { stdout } = await here.run(['/bin/sh', '-c', 'setsid sleep 60 >/dev/null 2>&1 & echo $!']);
  const orphan = Number(stdout);
  expect(isAlive(daemon.pid)).toBe(true);
  expect(isAlive(orphan)).toBe(true);
  const cgroup = placeOf(orphan);
  expect(cgroup).not.toBe('');
  const mountpoints = cgroupMountpoints().filter((mountpoint) => existsSync(mountpoint + cgroup));
  expect(mountpoints).toHaveLength(1);
  const below = `${mountpoints[0]}${cgroup}/below`;
  mkdirSync(below);
  writeFileSync(`${below}/cgroup.procs`, String(orphan));

  await close();
  await close();

  expect(isAlive(daemon.pid)).toBe(false);
  expect(isAlive(orphan)).toBe(false);
  expect(existsSync(mountpoints[0] + cgroup)).toBe(false);
});
