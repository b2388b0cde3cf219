import { closeSync, existsSync, openSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadNative } from '../../src/native.js';
import { SupervisorClient } from '../../src/runtime/supervisor.js';
import { execSpec, pauseSpec, TestSandbox } from '../fixtures/supervisor.js';

let sandbox: TestSandbox;

beforeEach(async () => {
  sandbox = await TestSandbox.start();
});

afterEach(() => sandbox.dispose());

/** Waits for what nothing announces. */
async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error('It did not come true within 10 s');
    await delay(20);
  }
}

/** A process may end between the opening of its status (then ENOENT) and the reading (then ESRCH). */
function alive(pid: number): boolean {
  try {
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

describe('logs', () => {
  test('cut lines past 16 KiB into P entries and F, and end an unfinished line by F', async () => {
    const { log } = await sandbox.complete(
      'dd if=/dev/zero bs=1000 count=40 2>/dev/null; echo; printf tail',
    );
    const entries = log.split('\n').slice(0, -1);
    expect(entries.map((line) => line.split(' ')[2])).toEqual(['P', 'P', 'F', 'F']);
    expect(entries.map((line) => line.split(' ').slice(3).join(' ').length)).toEqual([
      16384,
      16384,
      40_000 - 2 * 16384,
      4,
    ]);
    for (const line of entries) {
      expect(line).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z stdout [PF] /);
    }
  });

  test('go on in a new file after REOPEN_LOG, and nothing is lost or added to the old one', async () => {
    const id = await sandbox.run('n=0; while [ $n -lt 3000 ]; do n=$((n+1)); echo line $n; done');
    const path = join(sandbox.logDirectory, id, '0.log');
    const parts: string[] = [];
    for (let turn = 0; turn < 5; turn++) {
      try {
        renameSync(path, `${path}.${turn}`);
        await sandbox.client.reopenLog(id);
      } catch {
        break; // it has ended
      }
      parts.push(readFileSync(`${path}.${turn}`, 'utf8'));
    }
    await sandbox.exit(id);
    const all = [0, 1, 2, 3, 4].map((turn) => {
      const old = `${path}.${turn}`;
      return existsSync(old) ? readFileSync(old, 'utf8') : '';
    });
    expect(all.slice(0, parts.length)).toEqual(parts);
    const lines = (all.join('') + sandbox.log(id)).split('\n').slice(0, -1);
    expect(lines.map((line) => line.replace(/^\S+ stdout F /, ''))).toEqual(
      Array.from({ length: 3000 }, (_, index) => `line ${index + 1}`),
    );
  });

  test('are not reopened for a container that has ended', async () => {
    const { id } = await sandbox.complete('true');
    await expect(sandbox.client.reopenLog(id)).rejects.toMatchObject({ errnoCode: 'ESRCH' });
  });

  test('do not hold the exit up for more than a moment when somebody else keeps the pipe', async () => {
    await sandbox.client.start(pauseSpec('pause'), { what: 'pause', fds: [] });
    const began = performance.now();
    const done = await sandbox.complete('sleep 1000 & echo first', {
      spec: { pidNamespace: 'pod' },
    });
    expect(done.output.stdout).toBe('first\n');
    expect(performance.now() - began).toBeLessThan(8000);
  });
});

describe('a terminal', () => {
  test('is the controlling one, has its size, and all output is stdout', async () => {
    const { output } = await sandbox.complete(
      'stty size; test -t 0 && echo tty >&2; ls -l /dev/console | cut -c1; echo $(test -c /dev/console && echo console)',
      {
        spec: { terminal: true, windowSize: { rows: 33, columns: 99 } },
      },
    );
    expect(output.stdout).toContain('33 99\n');
    expect(output.stdout).toContain('tty\n');
    expect(output.stdout).toContain('console\n');
    expect(output.stderr).toBe('');
  });
});

describe('an exec', () => {
  test('joins namespaces, root and cgroup, and has the same credentials', async () => {
    const id = await sandbox.run('echo here > /tmp/mark; echo ready; sleep 1000');
    await until(() => sandbox.log(id).includes('ready'));
    await sandbox.client.start(
      {
        ...execSpec('exec1', id, [
          'sh',
          '-c',
          'cat /tmp/mark; hostname; ps | grep -c sleep; cat /proc/self/cgroup | grep -vc ":/$"; grep CapInh /proc/self/status',
        ]),
        log: { directory: sandbox.logDirectory, path: 'exec1/0.log' },
      },
      { what: 'exec', fds: [] },
    );
    expect(await sandbox.exit('exec1')).toMatchObject({ exitCode: 0 });
    expect(sandbox.output('exec1').stdout).toMatch(
      /^here\ntest-pod\n[1-9]\d*\n0\nCapInh:\s0{16}\n$/,
    );
    await sandbox.client.stop({ id, signal: 9 });
    await sandbox.exit(id);
  });

  test('of a missing binary fails by name', async () => {
    const id = await sandbox.run('sleep 1000');
    const started = sandbox.client.start(execSpec('exec2', id, ['absent']), {
      what: 'exec',
      fds: [],
    });
    await expect(started).rejects.toMatchObject({ step: 'exec', errnoCode: 'ENOENT' });
  });
});

describe('a shared pid namespace', () => {
  test('has pause as pid 1, which reaps and cannot be looked into', async () => {
    await sandbox.client.start(pauseSpec('pause'), { what: 'pause', fds: [] });
    const done = await sandbox.complete(
      'cat /proc/1/comm; (sleep 0 & ); ls /proc/1/root/ 2>&1; ls /proc/1/fd 2>&1',
      { spec: { pidNamespace: 'pod' } },
    );
    expect(done.output.stdout).toMatch(/^pause\n/);
    expect(done.output.stdout).toMatch(/root\/?: Permission denied/);
    const { containers } = await sandbox.client.status();
    expect(containers.map(({ kind, state }) => `${kind} ${state}`)).toEqual([
      'pause running',
      'container exited',
    ]);
  });
});

describe("another container's pid namespace", () => {
  test('shows its processes, and both end with it', async () => {
    const target = await sandbox.run('exec sleep 1000');
    const guest = await sandbox.run(
      'cat /proc/1/cmdline | tr "\\000" " "; echo; echo $$; echo ready; exec sleep 1000',
      { spec: { pidNamespace: 'target', pidTarget: target } },
    );
    await until(() => sandbox.log(guest).includes('ready'));
    const [first, pid] = sandbox.output(guest).stdout.split('\n');
    expect(first).toBe('sleep 1000 ');
    expect(Number(pid)).toBeGreaterThan(1);
    await sandbox.client.stop({ id: target, signal: 9 });
    expect(await sandbox.exit(target)).toMatchObject({ exitCode: 137 });
    // The kernel kills what is left of a pid namespace when its first process ends.
    expect(await sandbox.exit(guest)).toMatchObject({ exitCode: 137, signal: 9 });
  });

  test('goes on when the guest ends', async () => {
    const target = await sandbox.run('sleep 1000');
    const done = await sandbox.complete('exit 4', {
      spec: { pidNamespace: 'target', pidTarget: target },
    });
    expect(done).toMatchObject({ exitCode: 4 });
    const { containers } = await sandbox.client.status();
    expect(containers.find(({ id }) => id === target)?.state).toBe('running');
  });

  test('cannot be that of a container which does not run', async () => {
    const { id } = await sandbox.complete('true');
    for (const pidTarget of [id, 'absent']) {
      await expect(
        sandbox.run('true', { spec: { pidNamespace: 'target', pidTarget } }),
      ).rejects.toMatchObject({ errnoCode: 'ESRCH', message: expect.stringContaining(pidTarget) });
    }
  });
});

describe("the host's pid namespace", () => {
  test('shows the processes of the host; STOP with 9 ends those of the container alone', async () => {
    const id = await sandbox.run('sleep 1000 & echo $$ $!; exec sleep 1000', {
      spec: { pidNamespace: 'host' },
    });
    await until(() => sandbox.output(id).stdout.includes('\n'));
    const pids = sandbox.output(id).stdout.trim().split(' ').map(Number);
    const { containers } = await sandbox.client.status();
    expect(containers.find((container) => container.id === id)?.pid).toBe(pids[0]);
    expect(pids.every(alive)).toBe(true);
    const seen = await sandbox.complete(`test -d /proc/${process.pid} && echo seen`, {
      spec: { pidNamespace: 'host' },
    });
    expect(seen.output.stdout).toBe('seen\n');
    await sandbox.client.stop({ id, signal: 9 });
    expect(await sandbox.exit(id)).toMatchObject({ exitCode: 137, signal: 9 });
    await until(() => !pids.some(alive));
  });

  test('holds nothing of a container whose first process has ended', async () => {
    const done = await sandbox.complete('sleep 1000 >/dev/null 2>&1 & echo $!', {
      spec: { pidNamespace: 'host' },
    });
    const left = Number(done.output.stdout);
    expect(left).toBeGreaterThan(1);
    await until(() => !alive(left));
  });

  test('keeps no first process of a container when the supervisor is killed', async () => {
    const id = await sandbox.run('exec sleep 1000', { spec: { pidNamespace: 'host' } });
    const pid = (await sandbox.client.status()).containers.find((one) => one.id === id)?.pid ?? 0;
    process.kill(sandbox.pid, 'SIGKILL');
    await until(() => !alive(pid));
  });
});

describe('the supervisor', () => {
  test('has one owner; a second is refused, and may take over when the first has gone', async () => {
    const options = {
      native: loadNative(),
      socketPath: join(sandbox.runDirectory, 'control.sock'),
      ownership: 'take',
    } as const;
    await expect(SupervisorClient.connect(options)).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
    });
    const id = await sandbox.run('sleep 1000');
    sandbox.client.close();
    const next = await sandbox.connect();
    const { containers, hasOwner } = await next.status();
    expect(hasOwner).toBe(true);
    expect(containers).toMatchObject([{ id, state: 'running' }]);
  });

  test('ends all and leaves on SHUTDOWN', async () => {
    const id = await sandbox.run('trap "exit 3" TERM; echo ready; while true; do sleep 0.05; done');
    await until(() => sandbox.log(id).includes('ready'));
    await sandbox.client.shutdown(5000);
    expect(sandbox.exitRecord(id)).toMatchObject({ exitCode: 3 });
    await until(() => !alive(sandbox.pid));
    expect(existsSync(join(sandbox.runDirectory, 'control.sock'))).toBe(false);
  });

  test('takes its containers with it when it is killed', async () => {
    const id = await sandbox.run('sleep 1000');
    const pid = (await sandbox.client.status()).containers.find((one) => one.id === id)?.pid ?? 0;
    process.kill(sandbox.pid, 'SIGKILL');
    await until(() => !alive(pid));
  });

  test('executes from a read-only mount: nobody who kept its file can ever write to it', async () => {
    const kept = openSync(`/proc/${sandbox.pid}/exe`, 'r');
    try {
      await sandbox.client.shutdown(0);
      await until(() => !alive(sandbox.pid));
      expect(() => openSync(`/proc/self/fd/${kept}`, 'r+')).toThrow(/EROFS|ETXTBSY/);
    } finally {
      closeSync(kept);
    }
  });
});

describe('onOwnerExit kill', () => {
  test('ends all when the owner goes, with cgroups and run directory', async () => {
    const own = await TestSandbox.start({ onOwnerExit: 'kill' });
    try {
      await own.run('sleep 1000 & sleep 1000');
      own.client.close();
      await until(() => !alive(own.pid));
      expect(existsSync(own.runDirectory)).toBe(false);
      expect(existsSync(`/sys/fs/cgroup/unified/${own.cgroup}`)).toBe(false);
      expect(existsSync(`/sys/fs/cgroup/memory/${own.supervisorCgroup}`)).toBe(false);
    } finally {
      await own.dispose();
    }
  });
});
