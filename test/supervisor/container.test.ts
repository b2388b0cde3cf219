import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadNative } from '../../src/native.js';
import { MountFlag, TestSandbox } from '../fixtures/supervisor.js';

let sandbox: TestSandbox;

beforeAll(async () => {
  sandbox = await TestSandbox.start({ sysctls: { 'net.ipv4.ip_unprivileged_port_start': '0' } });
});

afterAll(() => sandbox.dispose());

describe('a container', () => {
  test('runs, logs both streams and ends with its exit code, recorded', async () => {
    const done = await sandbox.complete('echo out; echo err >&2; exit 7');
    expect(done).toMatchObject({ exitCode: 7, signal: 0, oomKilled: false });
    expect(done.output).toEqual({ stdout: 'out\n', stderr: 'err\n' });
    expect(sandbox.exitRecord(done.id)).toMatchObject({
      id: done.id,
      exitCode: 7,
      reason: 'Error',
    });
  });

  test('sees pid 1, its own hostname, only its environment, no inherited descriptor', async () => {
    const { output } = await sandbox.complete(
      'echo $$; hostname; env | grep -v SHLVL; ls /proc/self/fd',
      {
        spec: { environment: ['PATH=/bin', 'ONLY=this'] },
      },
    );
    const lines = output.stdout.trim().split('\n');
    expect(lines.slice(0, 2)).toEqual(['1', 'test-pod']);
    expect(new Set(lines.slice(2, -4))).toEqual(new Set(['PATH=/bin', 'ONLY=this', 'PWD=/']));
    // 3 is the directory that ls reads.
    expect(lines.slice(-4)).toEqual(['0', '1', '2', '3']);
  });

  test('has empty inheritable capabilities, the given set, no blocked signal, umask 0022', async () => {
    const { output } = await sandbox.complete(
      'grep -E "^(Cap|NoNewPrivs|Sig(Blk|Ign))" /proc/self/status; umask; cat /proc/self/oom_score_adj',
    );
    expect(output.stdout).toMatch(/CapInh:\s0000000000000000/);
    expect(output.stdout).toMatch(/CapPrm:\s00000000a80425fb/);
    expect(output.stdout).toMatch(/CapEff:\s00000000a80425fb/);
    expect(output.stdout).toMatch(/CapBnd:\s00000000a80425fb/);
    expect(output.stdout).toMatch(/CapAmb:\s0000000000000000/);
    expect(output.stdout).toMatch(/NoNewPrivs:\s1/);
    expect(output.stdout).toMatch(/SigBlk:\s0000000000000000/);
    expect(output.stdout).toMatch(/SigIgn:\s0000000000000000/);
    expect(output.stdout).toMatch(/\n0022\n0\n$/);
  });

  test('runs as the user and groups asked for, without capabilities', async () => {
    const { output } = await sandbox.complete(
      'id -u; id -g; id -G; grep CapEff /proc/self/status; echo again > /dev/stdout',
      {
        spec: { uid: 1000, gid: 2000, groups: [3000, 4000] },
      },
    );
    expect(output.stdout).toMatch(/^1000\n2000\n2000 3000 4000\nCapEff:\s0{16}\nagain\n$/);
  });

  test.each([true, false])('has seccomp mode 2 (no_new_privs %s)', async (noNewPrivileges) => {
    const filter = await loadNative().compileSeccomp(
      JSON.stringify({
        defaultAction: 'SCMP_ACT_ALLOW',
        syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 1 }],
      }),
    );
    const { output } = await sandbox.complete(
      'grep Seccomp: /proc/self/status; grep CapPrm /proc/self/status; mkdir /tmp/x 2>&1',
      { spec: { seccomp: { filter, flags: 0 }, noNewPrivileges } },
    );
    expect(output.stdout).toMatch(/Seccomp:\s2\nCapPrm:\s00000000a80425fb\n.*not permitted/);
  });

  test('has masked and read-only paths, and a read-only root when asked', async () => {
    const { output } = await sandbox.complete(
      'cat /proc/timer_list | wc -c; ls /proc/acpi /sys/firmware; echo x > /proc/sys/kernel/hostname; echo x > /x; echo $?',
      {
        spec: {
          maskedPaths: ['/proc/timer_list', '/proc/acpi', '/sys/firmware', '/proc/absent'],
          readonlyPaths: ['/proc/sys', '/proc/absent'],
          rootReadonly: true,
        },
      },
    );
    expect(output.stdout.startsWith('0\n')).toBe(true);
    expect(output.stdout.endsWith('1\n')).toBe(true);
    expect(output.stderr).toContain('/proc/sys/kernel/hostname: Read-only file system');
    expect(output.stderr).toContain('/x: Read-only file system');
  });

  test('has its devices, links, shared memory, message queues and its own cgroup', async () => {
    const { output } = await sandbox.complete(
      [
        'for d in null zero full random urandom tty; do stat -c "%n %t:%T %a" /dev/$d; done',
        'for l in fd stdin ptmx; do readlink /dev/$l; done',
        'cat /proc/self/cgroup | grep -v ":/$" | wc -l',
        'ls /sys/fs/cgroup | head -1 | wc -l; mkdir /sys/fs/cgroup/x 2>&1',
      ].join('\n'),
    );
    expect(output.stdout).toContain('/dev/null 1:3 666\n');
    expect(output.stdout).toContain('/dev/tty 5:0 666\n');
    expect(output.stdout).toContain('/proc/self/fd\n/proc/self/fd/0\npts/ptmx\n');
    expect(output.stdout).toContain('pts/ptmx\n0\n1\n');
    expect(output.stdout).toContain('Read-only file system');
  });

  test('has nothing of the host mounted, also not above its root', async () => {
    const { output } = await sandbox.complete(
      'cut -d" " -f5 /proc/self/mountinfo; echo; ls /..; echo; ls /; echo; grep -c ext4 /proc/self/mountinfo',
    );
    const [mounts = '', above, root, onDisk] = output.stdout.split('\n\n');
    expect(
      mounts
        .split('\n')
        .filter((path) => !path.startsWith('/sys/fs/cgroup/'))
        .sort(),
    ).toEqual([
      '/',
      '/dev',
      '/dev/mqueue',
      '/dev/pts',
      '/dev/shm',
      '/proc',
      '/sys',
      '/sys/fs/cgroup',
    ]);
    expect(above).toBe(root);
    expect(onDisk).toBe('0\n');
  });

  test('shares /dev/shm with the other containers of its sandbox', async () => {
    await sandbox.complete('echo shared > /dev/shm/word');
    expect((await sandbox.complete('cat /dev/shm/word')).output.stdout).toBe('shared\n');
  });

  test('gets files, binds and a working directory that is made', async () => {
    const source = join(sandbox.directory, 'source');
    mkdirSync(source);
    writeFileSync(join(source, 'file'), 'bound');
    const { output } = await sandbox.complete(
      'pwd; cat /etc/hosts; cat /mnt/deep/file; touch /mnt/deep/x; id -u',
      {
        spec: {
          workingDirectory: '/srv/made',
          files: [{ destination: '/etc/hosts', content: '127.0.0.1 localhost\n', mode: 0o644 }],
          mounts: [
            { type: 'proc', destination: '/proc' },
            {
              type: 'bind',
              destination: '/mnt/deep',
              source,
              flags: MountFlag.bind | MountFlag.readonly,
            },
          ],
        },
      },
    );
    expect(output.stdout).toBe('/srv/made\n127.0.0.1 localhost\nbound0\n');
    expect(output.stderr).toContain('Read-only file system');
  });

  test('has the resource limits and the oom score asked for', async () => {
    const { output } = await sandbox.complete(
      'ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj',
      {
        spec: { rlimits: [{ resource: 7, soft: 123, hard: 456 }], oomScoreAdj: 500 },
      },
    );
    expect(output.stdout).toBe('123\n456\n500\n');
    expect((await sandbox.complete('ulimit -n; ulimit -Hn')).output.stdout).toBe('1024\n4096\n');
  });

  test('reports that it was killed for want of memory', async () => {
    const done = await sandbox.complete(
      'cat /dev/zero | head -c 200m | tail -c 150m > /dev/null; exit 9',
      {
        resources: { memoryLimitBytes: 16 * 2 ** 20, memorySwapLimitBytes: 16 * 2 ** 20 },
      },
    );
    expect(done).toMatchObject({ oomKilled: true, exitCode: 9 });
  });

  test('ends with 128 and the signal; STOP with 9 ends all of its processes', async () => {
    const id = await sandbox.run('sleep 1000 & sleep 1000 & echo ready; wait');
    await sandbox.client.stop({ id, signal: 9 });
    expect(await sandbox.exit(id)).toMatchObject({ exitCode: 137, signal: 9 });
    expect(sandbox.exitRecord(id)).toMatchObject({ signal: 9 });
  });

  test('follows links of the image inside its root only', async () => {
    const { output } = await sandbox.complete('cat /real/resolv.conf; ls /real', {
      prepare: (root) => symlinkSync('/real/resolv.conf', join(root, 'etc/resolv.conf')),
      spec: {
        files: [{ destination: '/etc/resolv.conf', content: 'nameserver ::1\n', mode: 0o644 }],
      },
    });
    expect(output.stdout).toBe('nameserver ::1\nresolv.conf\n');
  });
});

describe('a start that fails names step, error and path', () => {
  test.each([
    ['a missing binary', { arguments: ['absent'] }, 'exec', 'ENOENT'],
    ['a missing absolute binary', { arguments: ['/bin/absent'] }, 'exec', 'ENOENT'],
    ['a file that cannot be executed', { arguments: ['/etc/plain'] }, 'exec', 'EACCES'],
    ['a missing interpreter', { arguments: ['/bin/script'] }, 'exec', 'ENOENT'],
    ['a working directory that is a file', { workingDirectory: '/etc/plain' }, 'cwd', 'ENOTDIR'],
    ['a working directory of the host', { workingDirectory: '/proc/self/fd/9' }, 'cwd', ''],
    [
      'a bind source that is missing',
      { mounts: [{ type: 'bind', destination: '/x', source: '/absent/source' }] },
      'mount',
      'ENOENT',
    ],
    [
      'a bad mount option',
      { mounts: [{ type: 'tmpfs', destination: '/x', data: 'nonsense=1' }] },
      'mount',
      'EINVAL',
    ],
    ['a log outside its directory', { log: { directory: '/tmp', path: '../x' } }, 'log', 'EXDEV'],
  ] as const)('%s', async (_name, spec, step, errnoCode) => {
    const started = sandbox.run('true', {
      spec,
      prepare: (root) => {
        writeFileSync(join(root, 'etc/plain'), 'plain');
        writeFileSync(join(root, 'bin/script'), '#!/absent/interpreter\n', { mode: 0o755 });
      },
    });
    const expected = errnoCode === '' ? { step } : { step, errnoCode };
    await expect(started).rejects.toMatchObject({ code: 'START_FAILED', ...expected });
  });

  test.each(['proc', 'sys', 'dev'])('an image whose /%s is a link', async (name) => {
    const started = sandbox.run('true', {
      prepare: (root) => {
        mkdirSync(join(root, 'other'));
        symlinkSync('/other', join(root, `${name}.link`));
        // The directory itself is replaced by the link.
        renameOver(root, name);
      },
    });
    await expect(started).rejects.toMatchObject({ step: 'mount', errnoCode: 'ELOOP' });
  });
});

function renameOver(root: string, name: string): void {
  const { rmdirSync, renameSync } = process.getBuiltinModule('node:fs');
  rmdirSync(join(root, name));
  renameSync(join(root, `${name}.link`), join(root, name));
}
