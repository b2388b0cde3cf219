import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type DeviceRule, loadNative } from '../../src/native.js';

const native = loadNative();
const layout = native.cgroupLayout();
const v1 = (controller: string) =>
  layout.v1.find((hierarchy) => hierarchy.controllers.includes(controller))?.mountpoint;
const v2 = (controller: string) =>
  layout.v2?.controllers.includes(controller) ? layout.v2.mountpoint : undefined;
/** The virtual machine of test/vm emulates its processors. */
const TIME_FACTOR = Number(process.env['CAIS_TIME_FACTOR'] ?? 1);
const has = (controller: string) => v1(controller) !== undefined || v2(controller) !== undefined;

let parent: string;
const children: ChildProcess[] = [];

function control(file: string, path: string): string {
  const controller = file.split('.')[0] as string;
  const mountpoint = v1(controller) ?? v2(controller);
  return readFileSync(join(mountpoint as string, path, file), 'utf8').trim();
}

/** Reads the v1 file where the controller is a v1 one, the v2 file else. */
function limit(names: { v1: string; v2: string }, path: string): string {
  return control(v1(names.v1.split('.')[0] as string) ? names.v1 : names.v2, path);
}

/** A process in the cgroup (in every hierarchy), running a shell script; resolves at its first output. */
async function processIn(directories: readonly string[], script: string): Promise<ChildProcess> {
  const join = directories.map((directory) => `echo $$ > ${directory}/cgroup.procs`).join('; ');
  const child = spawn('sh', ['-c', `${join}; echo in; ${script}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  await new Promise((resolve) => child.stdout?.once('data', resolve));
  return child;
}

const ended = (child: ChildProcess) =>
  child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve()
    : new Promise((resolve) => child.once('exit', resolve));

beforeEach(() => {
  parent = `cais-test-${randomBytes(6).toString('hex')}`;
});

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await native.killCgroup(parent, 10_000);
  await native.removeCgroup(parent);
  for (const hierarchy of [...layout.v1, ...(layout.v2 ? [layout.v2] : [])]) {
    expect(existsSync(join(hierarchy.mountpoint, parent))).toBe(false);
  }
});

describe('createCgroup()', () => {
  test('limits huge pages, and takes a missing controller or page size for no page', async () => {
    const limits = ['2MB', '64MB'].map((pageSize) => ({ pageSize, limitBytes: 4 << 20 }));
    await native.createCgroup(parent, { hugepageLimits: limits });
    const names = { v1: 'hugetlb.2MB.limit_in_bytes', v2: 'hugetlb.2MB.max' };
    if (has('hugetlb')) expect(limit(names, parent)).toBe(String(4 << 20));
    const bad = [{ pageSize: '../2MB', limitBytes: 1 }];
    await expect(async () =>
      native.createCgroup(`${parent}/x`, { hugepageLimits: bad }),
    ).rejects.toThrow(TypeError);
  });

  test('makes the cgroup in every hierarchy, ready to take a process', async () => {
    const directories = await native.createCgroup(`${parent}/pod/container`, {});
    expect(directories).toEqual(
      [...layout.v1, ...(layout.v2 ? [layout.v2] : [])].map((hierarchy) =>
        join(hierarchy.mountpoint, parent, 'pod/container'),
      ),
    );
    const child = await processIn(directories, 'read x < /dev/zero');
    const cgroups = readFileSync(`/proc/${child.pid}/cgroup`, 'utf8').trim().split('\n');
    for (const line of cgroups) expect(line).toContain(`/${parent}/pod/container`);
  });

  test('sets limits in the units of the hierarchy', async () => {
    const path = `${parent}/limits`;
    await native.createCgroup(path, {
      cpuShares: 512,
      cpuQuotaMicros: 50_000,
      cpuPeriodMicros: 200_000,
      memoryLimitBytes: 64 << 20,
      memorySwapLimitBytes: 96 << 20,
      pidsLimit: 7,
      cpusetCpus: '0',
      cpusetMems: '0',
    });
    expect(limit({ v1: 'cpu.shares', v2: 'cpu.weight' }, path)).toBe(v1('cpu') ? '512' : '59');
    if (v1('cpu')) {
      expect(control('cpu.cfs_quota_us', path)).toBe('50000');
      expect(control('cpu.cfs_period_us', path)).toBe('200000');
    } else expect(control('cpu.max', path)).toBe('50000 200000');
    expect(limit({ v1: 'memory.limit_in_bytes', v2: 'memory.max' }, path)).toBe(`${64 << 20}`);
    if (v1('memory')) expect(control('memory.memsw.limit_in_bytes', path)).toBe(`${96 << 20}`);
    expect(control('pids.max', path)).toBe('7');
    expect(control('cpuset.cpus', path)).toBe('0');
  });

  test('undoes everything when a limit is refused', async () => {
    await expect(
      native.createCgroup(`${parent}/a/b`, { cpusetCpus: '4096' }),
    ).rejects.toMatchObject({ errnoCode: expect.stringMatching(/EINVAL|ERANGE|EACCES/) });
    for (const hierarchy of layout.v1) {
      expect(existsSync(join(hierarchy.mountpoint, parent))).toBe(false);
    }
  });

  test.each(['/absolute', '../up', 'a//b', 'a/./b', '', 'a/'])(
    'refuses the path "%s"',
    async (path) => {
      await expect(native.createCgroup(path, {})).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      });
    },
  );

  test.each(['cgroup.procs', '../memory.max', 'memory', '.hidden'])(
    'refuses "%s" as a unified limit',
    async (name) => {
      if (!layout.v2) return;
      await expect(
        native.createCgroup(`${parent}/u`, { unified: { [name]: '1' } }),
      ).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    },
  );

  test('says which controller a unified limit lacks', async ({ skip }) => {
    skip(!layout.v2 || v2('memory') !== undefined, 'the v2 tree has its controllers');
    await expect(
      native.createCgroup(`${parent}/u`, { unified: { 'memory.high': '1000000' } }),
    ).rejects.toMatchObject({ code: 'UNSUPPORTED', message: expect.stringContaining('memory') });
  });

  test('may be called for one parent by many at once', async () => {
    await Promise.all(
      Array.from({ length: 20 }, (_, i) => native.createCgroup(`${parent}/pod/${i}`, {})),
    );
  });
});

describe('updateCgroup()', () => {
  test('raises and lowers memory together with swap', async () => {
    const path = `${parent}/update`;
    const set = (bytes: number) => ({ memoryLimitBytes: bytes, memorySwapLimitBytes: bytes });
    await native.createCgroup(path, set(64 << 20));
    for (const bytes of [128 << 20, 32 << 20, -1, 16 << 20]) {
      await native.updateCgroup(path, set(bytes));
      const value = limit({ v1: 'memory.limit_in_bytes', v2: 'memory.max' }, path);
      if (bytes > 0) expect(value).toBe(`${bytes}`);
      expect((await native.readCgroupStats(path)).memoryLimitBytes).toBe(bytes);
    }
  });

  test('takes a quota away', async () => {
    const path = `${parent}/quota`;
    await native.createCgroup(path, { cpuQuotaMicros: 5000, cpuPeriodMicros: 50_000 });
    await native.updateCgroup(path, { cpuQuotaMicros: -1, cpuPeriodMicros: 100_000 });
    if (v1('cpu')) expect(control('cpu.cfs_quota_us', path)).toBe('-1');
    else expect(control('cpu.max', path)).toBe('max 100000');
  });
});

describe('device rules', () => {
  const none: DeviceRule = { allow: false, type: 'a', major: -1, minor: -1, access: 'rwm' };
  const device = (minor: number, access: string): DeviceRule => {
    return { allow: true, type: 'c', major: 1, minor, access };
  };
  /** What a process in the cgroup can open: null for reading and writing, zero, full. */
  async function opens(directories: readonly string[]): Promise<string> {
    const join = directories.map((name) => `echo $$ > ${name}/cgroup.procs`).join('; ');
    const probe = ['r < /dev/null', 'w > /dev/null', 'z < /dev/zero', 'f < /dev/full']
      .map((text) => `(: ${text.slice(2)}) 2>&- && printf ${text[0]}`)
      .join('; ');
    return execFileSync('sh', ['-c', `${join}; ${probe}; true`], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  }

  test('deny what they do not name, the last one deciding', async ({ skip }) => {
    skip(layout.v2 === null && !has('devices'), 'no devices controller');
    const path = `${parent}/devices`;
    const directories = await native.createCgroup(path, {
      devices: [none, device(3, 'rwm'), device(5, 'r')],
    });
    expect(await opens(directories)).toBe('rwz');
    await native.updateCgroup(path, {
      devices: [none, device(3, 'r'), device(7, 'rw'), { ...device(7, 'r'), allow: false }],
    });
    expect(await opens(directories)).toBe('r');
    await native.updateCgroup(path, { devices: [{ ...none, allow: true }] });
    expect(await opens(directories)).toBe('rwzf');
  });

  test('are refused with the field that is wrong', () => {
    expect(() =>
      native.createCgroup(`${parent}/x`, { devices: [{ ...none, access: 'x' }] }),
    ).toThrow('resources.devices[0].access: expected letters of "rwm"');
  });
});

describe('setOomScore()', () => {
  test('reaches processes that start while it is set', async ({ skip }) => {
    skip(TIME_FACTOR > 1, 'a fork of an emulated machine may take longer than is waited for it');
    const directories = await native.createCgroup(parent, {});
    // Most of its time passes between a fork's copy of the score and the new process: its pages are copied.
    await processIn(
      directories,
      'x=$(head -c 256m /dev/zero | tr "\\0" x); while :; do for i in $(seq 20); do sleep 0.1 & done; wait; done',
    );
    const processes = () =>
      readFileSync(`${directories[0]}/cgroup.procs`, 'utf8').trim().split('\n');
    await expect.poll(() => processes().length, { timeout: 20_000 }).toBeGreaterThan(5);
    const scoreOf = (pid: string) => {
      try {
        return readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim();
      } catch {
        return 'ended';
      }
    };
    const missed: string[] = [];
    for (let score = 101; score <= 120; score++) {
      await native.setOomScore(parent, score);
      await setTimeout(20); // until what was being forked is there
      const scores = processes()
        .map(scoreOf)
        .filter((text) => text !== 'ended');
      if (scores.some((text) => text !== String(score))) missed.push(`${score}: ${scores.join()}`);
    }
    // One look at the processes misses some in 7 to 10 of these. A machine that stands still for 100 ms may lose one.
    expect(missed.slice(2)).toEqual([]);
  });

  test('leaves a process that raises its own score again and again', async () => {
    const directories = await native.createCgroup(parent, {});
    await processIn(directories, 'while :; do echo 900 > /proc/$$/oom_score_adj; done');
    await native.setOomScore(parent, 300);
  });

  test('has done its work when all have ended meanwhile and their cgroup is gone', async () => {
    const directories = await native.createCgroup(parent, {});
    const child = await processIn(directories, 'exec sleep 1000');
    const set = native.setOomScore(parent, 500);
    const score = () => readFileSync(`/proc/${child.pid}/oom_score_adj`, 'utf8');
    await expect.poll(score, { interval: 1, timeout: 20_000 }).toBe('500\n');
    await native.killCgroup(parent, 10_000);
    await native.removeCgroup(parent);
    await set;
  });

  test('says that there is no such cgroup', async () => {
    await expect(native.setOomScore(parent, 500)).rejects.toThrow('cgroup.procs');
  });
});

describe('killCgroup()', () => {
  test('is content with what is absent', async () => {
    await native.killCgroup(`${parent}/none`, 1000);
  });

  test('ends a process that forks all the time, in nested cgroups too', async () => {
    const above = await native.createCgroup(`${parent}/kill`, {});
    const below = await native.createCgroup(`${parent}/kill/below`, { pidsLimit: 50 });
    const sleeper =
      layout.v2 && v2('memory') ? undefined : await processIn(above, 'exec sleep 1000');
    const bomb = await processIn(
      below,
      'trap "" TERM INT HUP; f() { while :; do (f) 2>/dev/null & sleep 0.01; done; }; f 2>/dev/null',
    );
    await native.killCgroup(`${parent}/kill`, 20_000);
    await Promise.all([bomb, sleeper].map((child) => child && ended(child)));
    expect(bomb.signalCode).toBe('SIGKILL');
    await native.removeCgroup(`${parent}/kill`);
  });

  test('ends a frozen process', async () => {
    const directories = await native.createCgroup(`${parent}/frozen`, {});
    const child = await processIn(directories, 'exec sleep 1000');
    const freezer = v1('freezer');
    if (freezer) writeFileSync(join(freezer, parent, 'frozen/freezer.state'), 'FROZEN');
    else writeFileSync(join(layout.v2?.mountpoint as string, parent, 'frozen/cgroup.freeze'), '1');
    await native.killCgroup(`${parent}/frozen`, 10_000);
    await ended(child);
    expect(child.signalCode).toBe('SIGKILL');
  });

  test('finds processes that are in a v1 hierarchy only', async ({ skip }) => {
    skip(!v1('memory'), 'no v1 hierarchy');
    await native.createCgroup(`${parent}/partly`, {});
    const child = await processIn(
      [join(v1('memory') as string, parent, 'partly')],
      'exec sleep 1000',
    );
    await native.killCgroup(`${parent}/partly`, 10_000);
    await ended(child);
    expect(child.signalCode).toBe('SIGKILL');
  });
});

describe('removeCgroup()', () => {
  test('is content with what is absent, and removes children first', async () => {
    await native.removeCgroup(`${parent}/none`);
    await native.createCgroup(`${parent}/a/b/c`, {});
    await native.removeCgroup(`${parent}/a`);
    await native.removeCgroup(`${parent}/a`);
  });
});

describe('readCgroupStats()', () => {
  test('counts time, memory and processes', async () => {
    const path = `${parent}/stats`;
    const directories = await native.createCgroup(path, { memoryLimitBytes: 256 << 20 });
    await processIn(
      directories,
      'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; read x < /dev/zero',
    );
    // Time is counted at the next tick of the clock.
    await expect
      .poll(async () => (await native.readCgroupStats(path)).cpuUsageNanos)
      .toBeGreaterThan(0);
    const stats = await native.readCgroupStats(path);
    expect(stats.memoryLimitBytes).toBe(256 << 20);
    expect(stats.pids).toBe(1);
    expect(stats.memoryWorkingSetBytes).toBeLessThanOrEqual(stats.memoryUsageBytes);
    expect(stats.oomKills).toBe(0);
  });

  test('counts kills for want of memory', async () => {
    const path = `${parent}/oom`;
    const directories = await native.createCgroup(path, {
      memoryLimitBytes: 8 << 20,
      memorySwapLimitBytes: 8 << 20,
    });
    const child = await processIn(directories, 'x=$(head -c 64m /dev/zero | tr "\\0" x)');
    await ended(child);
    expect((await native.readCgroupStats(path)).oomKills).toBeGreaterThan(0);
  });
});

describe('device rules of cgroup v2', () => {
  test('are a program of ours, also where v1 has the devices controller', ({ skip }) => {
    skip(layout.v2 === null, 'no v2 tree');
    const addon = join(import.meta.dirname, '../../build/Release/cais.node');
    const path = `${parent}/bpf`;
    const none: DeviceRule = { allow: false, type: 'a', major: -1, minor: -1, access: 'rwm' };
    const zero: DeviceRule = { allow: true, type: 'c', major: 1, minor: 5, access: 'r' };
    // In a mount namespace that has nothing but the v2 tree.
    const script = `
      const native = require(${JSON.stringify(addon)});
      const { execFileSync } = require('node:child_process');
      const opens = () => execFileSync('sh', ['-c', 'echo $$ > /sys/fs/cgroup/${path}/cgroup.procs; (: < /dev/full) 2>&- && printf f; (: > /dev/zero) 2>&- && printf w; (: < /dev/zero) 2>&- && printf z; true'], { encoding: 'utf8', stdio: ['pipe', 'pipe', 'ignore'] });
      (async () => {
        await native.createCgroup('${path}', { devices: ${JSON.stringify([none, zero])} });
        console.log(opens());
        await native.updateCgroup('${path}', { devices: ${JSON.stringify([none])} });
        console.log(opens());
        await native.updateCgroup('${path}', { devices: ${JSON.stringify([{ ...none, allow: true }])} });
        console.log(opens());
        await native.removeCgroup('${path}');
      })();`;
    const output = execFileSync(
      'unshare',
      [
        '--mount',
        'sh',
        '-c',
        'umount -R -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$0" -e "$1"',
        process.execPath,
        script,
      ],
      { encoding: 'utf8' },
    );
    expect(output).toBe('z\n\nfwz\n');
  });
});
