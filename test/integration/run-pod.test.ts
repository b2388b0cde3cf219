import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { CAIS, CliFixture, finished, written } from './cli-fixture.js';

describe('cais run', () => {
  let fixture: CliFixture;
  beforeAll(async () => {
    fixture = await CliFixture.open();
  });
  afterEach(() => fixture.expectNoLeaks());
  afterAll(() => fixture.close());

  test('runs init containers, then all others, with their lines behind their names', async () => {
    const { image } = fixture;
    const volumeMounts = [{ name: 'v', mountPath: '/v' }];
    const path = fixture.manifest({
      volumes: [{ name: 'v', emptyDir: {} }],
      initContainers: [
        {
          name: 'init',
          image,
          command: ['sh', '-c', 'echo first > /v/a; echo made'],
          volumeMounts,
        },
      ],
      containers: [
        { name: 'a', image, command: ['cat', '/v/a'], volumeMounts },
        { name: 'b', image, command: ['hostname'] },
      ],
    });
    const { code, stdout, stderr } = await fixture.cais('run', '-f', path);
    expect({ code, lines: stdout.trim().split('\n').sort() }, stderr).toEqual({
      code: 0,
      lines: ['a    | first', 'b    | web', 'init | made'],
    });
    expect(stdout.startsWith('init | made')).toBe(true);
  });

  test('ends with the exit code of the container that failed', async () => {
    const { code } = await fixture.cais('run', '-f', fixture.script('exit 7'));
    expect(code).toBe(7);
  });

  test('a program sees only what is its own', async () => {
    const script = `echo pid $$$$; hostname; env | sort; ls -1 /proc/self/fd | wc -l; umask
      grep -E 'CapInh|CapEff|CapBnd|Seccomp:' /proc/self/status
      wc -c < /proc/kcore; ls /proc/acpi | wc -l; ulimit -n
      cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max`;
    const container = {
      env: [{ name: 'A', value: 'b=c' }],
      resources: { limits: { memory: '64Mi' } },
    };
    const path = fixture.script(script, container);
    const child = execFile('sh', ['-c', `ulimit -Sn 512; exec ${CAIS} run -q -f ${path}`], {
      env: fixture.environment,
    });
    const { stdout, stderr, code } = await finished(child);
    expect({ code }, stderr).toEqual({ code: 0 });
    const lines = stdout.split('\n').map((line) => line.replace(/^app \| /, ''));
    expect(lines.slice(0, 2)).toEqual(['pid 1', 'web']);
    const environment = lines.filter(
      (line) => /^[A-Z_]+=/.test(line) && !/^(PWD|SHLVL)=/.test(line),
    );
    expect(environment).toEqual([
      'A=b=c',
      'FROM_IMAGE=yes',
      'HOME=/root',
      'HOSTNAME=web',
      'PATH=/bin',
    ]);
    expect(stdout).not.toContain('SECRET_OF_THE_CALLER');
    expect(lines).toContain('0022');
    expect(lines).toContain('CapInh:\t0000000000000000');
    expect(lines).toContain('CapBnd:\t00000000a80425fb');
    expect(lines).toContain('CapEff:\t00000000a80425fb');
    expect(lines).toContain('Seccomp:\t2');
    expect(lines).toContain('512');
    expect(lines).toContain(String(64 * 2 ** 20));
    // stdin, stdout, stderr, and the one that ls opens for the directory.
    expect(lines).toContain('4');
  });

  test('a program sees the kernel masked and read-only', async () => {
    // Of each masked path that this kernel has: nothing in it, and it is the null device or an empty directory.
    const script = `
      for path in kcore keys timer_list sched_debug interrupts; do
        [ -e /proc/$path ] && { [ -c /proc/$path ] && echo "$path: $(cat /proc/$path 2>&1 | wc -c)"; }
      done
      for path in /proc/acpi /proc/scsi /sys/firmware; do
        [ -d $path ] && echo "$path: $(ls -A $path | wc -l)"
      done
      for path in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/mm/probe /sys/fs/cgroup/probe; do
        (echo x > $path) 2>&1 | grep -o 'Read-only file system' | sed "s|^|$path: |"
      done
      mkdir /sys/fs/cgroup/mine 2>&1 | grep -o 'Read-only file system' | sed 's|^|cgroup: |'
      awk '$2 == "/proc/sys" || $2 == "/sys" { print $2 ": " substr($4, 1, 2) }' /proc/mounts`;
    const { stdout, code, stderr } = await fixture.cais('run', '-q', '-f', fixture.script(script));
    expect({ code }, stderr).toEqual({ code: 0 });
    const lines = stdout.split('\n').map((line) => line.replace(/^app \| /, ''));
    const masked = lines.filter((line) =>
      /^(kcore|keys|timer_list|sched_debug|interrupts|\/proc\/(acpi|scsi)|\/sys\/firmware): /.test(
        line,
      ),
    );
    expect(masked.filter((line) => !line.endsWith(': 0'))).toEqual([]);
    expect(masked).toContain('keys: 0');
    if (existsSync('/proc/kcore')) expect(masked).toContain('kcore: 0');
    expect(lines).toContain('/proc/sys/kernel/hostname: Read-only file system');
    if (existsSync('/proc/sysrq-trigger')) {
      expect(lines).toContain('/proc/sysrq-trigger: Read-only file system');
    }
    expect(lines).toContain('/sys/kernel/mm/probe: Read-only file system');
    expect(lines).toContain('cgroup: Read-only file system');
    expect(lines).toContain('/proc/sys: ro');
    expect(lines).toContain('/sys: ro');
  });

  test('what a failing container wrote to its termination message is printed and kept', async () => {
    const path = fixture.script('echo "out of \\033[31mluck" > /dev/termination-log; exit 3', {
      securityContext: { runAsUser: 1000 },
    });
    const { code, stderr } = await fixture.cais('run', '--keep', '-f', path);
    expect({ code, stderr }).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(
        /Container app of pod web ended with exit code 3 \(Error\): out of \S+luck\n/,
      ),
    });
    expect(stderr).not.toContain('\x1b');
    const [pod] = JSON.parse((await fixture.cais('ps', '-o', 'json')).stdout);
    expect(pod.containers[0].state.message).toContain('out of');
    expect((await fixture.cais('ps')).stdout).toMatch(/Error \(3\): out of/);
    expect(await fixture.cais('rm', 'web')).toMatchObject({ code: 0 });
  });

  test('a detached pod keeps the end of its log where its container asked for that', async () => {
    const path = fixture.script('echo first; echo last; exit 4', {
      terminationMessagePath: '/tmp/why/it ended',
      terminationMessagePolicy: 'FallbackToLogsOnError',
      securityContext: { readOnlyRootFilesystem: true },
    });
    expect(await fixture.cais('run', '-q', '-d', '-f', path)).toMatchObject({ code: 0 });
    await finished(fixture.start('logs', '-f', 'web'));
    const [pod] = JSON.parse((await fixture.cais('ps', '-o', 'json')).stdout);
    expect(pod.containers[0].state).toMatchObject({ exitCode: 4, message: 'first\nlast\n' });
    expect(await fixture.cais('rm', 'web')).toMatchObject({ code: 0 });
  });

  test('the volumes that an image declares are there, with what the image has in them', async () => {
    const Volumes = { '/data/deep': {}, '/etc': {}, '/proc/x': {} };
    const image = await fixture.publish('volumes', { Volumes });
    const script = 'touch /data/deep/file && stat -c "%n %a %u" /data/deep; ls -d /etc/passwd';
    const { code, stdout, stderr } = await fixture.cais(
      'run',
      '-f',
      fixture.script(script, { image }),
    );
    expect({ code }, stderr).toEqual({ code: 0 });
    expect(stdout).toBe('app | /data/deep 755 0\napp | /etc/passwd\n');
  });

  test('what an earlier run left and cannot be removed is a warning, once', async () => {
    const left = join(fixture.run, '0123456789abcdef');
    mkdirSync(left, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', 'cais-test', left]);
    try {
      const { code, stderr } = await fixture.cais('ps');
      expect({ code, stderr }).toMatchObject({
        code: 0,
        stderr: expect.stringMatching(/^cais: warning: Cannot recover leftovers now: .*EBUSY.*\n$/),
      });
    } finally {
      execFileSync('umount', [left]);
    }
    expect(await fixture.cais('ps')).toMatchObject({ code: 0, stderr: '' });
  });

  test('the first SIGINT lets the containers end by themselves', async () => {
    const path = fixture.script(
      'trap "echo bye; exit 5" TERM; echo up; while :; do sleep 0.1; done',
    );
    const child = fixture.start('run', '-f', path);
    const result = finished(child);
    await written(child, 'up');
    child.kill('SIGINT');
    const { code, stdout } = await result;
    expect(stdout).toContain('app | bye');
    expect(code).toBe(5);
  });

  test('the second SIGINT kills', async () => {
    const path = fixture.script(
      'trap "echo no" TERM; echo up; while :; do sleep 0.1; done',
      {},
      {
        terminationGracePeriodSeconds: 60,
      },
    );
    const child = fixture.start('run', '-f', path);
    const result = finished(child);
    await written(child, 'up');
    child.kill('SIGINT');
    await written(child, 'no');
    child.kill('SIGINT');
    expect((await result).code).toBe(137);
  });

  test('after kill -9 the containers go on with their logs; ps lists them, stop ends them and leaves nothing', async () => {
    const path = fixture.script('i=0; while :; do i=$((i+1)); echo line $i; sleep 0.1; done');
    const child = fixture.start('run', '-f', path);
    await written(child, 'line 2');
    child.kill('SIGKILL');
    await once(child, 'close');
    const [pod] = JSON.parse((await fixture.cais('ps', '-o', 'json')).stdout);
    expect(pod).toMatchObject({ name: 'web', phase: 'Running', hasOwner: false });
    const follower = fixture.start('logs', '-f', '--tail', '1', 'web');
    const followed = finished(follower);
    await written(follower, 'line');
    expect(await fixture.cais('stop', '-t', '1', 'web')).toMatchObject({ code: 0 });
    expect((await followed).code).toBe(0);
    expect(JSON.parse((await fixture.cais('ps', '-o', 'json')).stdout)).toEqual([]);
  });

  test('--detach leaves the pod running; logs, stop and rm find it', async () => {
    const path = fixture.script('echo up; exec sleep 1000');
    const { code, stdout, stderr } = await fixture.cais('run', '-q', '-d', '-f', path);
    expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: 'web\n' });
    const logs = fixture.start('logs', '-f', 'web');
    await written(logs, 'up');
    expect(await fixture.cais('rm', 'web')).toMatchObject({ code: 1 });
    expect(await fixture.cais('stop', '-t', '0', 'web')).toMatchObject({ code: 0 });
    expect(await fixture.cais('logs', 'web')).toMatchObject({ code: 0, stdout: 'up\n' });
    expect(await fixture.cais('rm', 'web')).toMatchObject({ code: 0, stdout: 'web\n' });
  });

  describe('refuses, with a clear message and nothing left', () => {
    afterEach(async () => {
      expect(JSON.parse((await fixture.cais('ps', '-o', 'json')).stdout)).toEqual([]);
    });

    test.each([
      ['a missing program', { command: ['/nope'] }, 127, /"app".*\/nope/],
      [
        'root where that is not allowed',
        { securityContext: { runAsNonRoot: true } },
        1,
        /runAsNonRoot/,
      ],
      [
        'an unknown field',
        { immage: 'x' },
        2,
        /web\.yaml:1: spec\.containers\[0\]\.immage: Unknown field/,
      ],
      [
        'an image that may not be pulled',
        { image: 'no/such:1', imagePullPolicy: 'Never' },
        1,
        /not present with pull policy of Never/,
      ],
    ])('%s', async (_what, container, exitCode, message) => {
      const { code, stderr } = await fixture.cais('run', '-f', fixture.script('true', container));
      expect({ code, stderr }).toMatchObject({
        code: exitCode,
        stderr: expect.stringMatching(message),
      });
    });

    test('an image whose user it does not know', async () => {
      const image = await fixture.publish('stranger', { User: 'stranger' });
      const path = fixture.script('true', { image });
      const { code, stderr } = await fixture.cais('run', '-f', path);
      expect({ code, stderr }).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/test\/stranger:latest".*"app".*User "stranger"/),
      });
    });

    test('a missing image', async () => {
      const path = fixture.script('true', { image: fixture.image.replace('busybox', 'nope') });
      const { code, stderr } = await fixture.cais('run', '-f', path);
      expect({ code, stderr }).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/test\/nope:latest/),
      });
    });

    test('malformed YAML', async () => {
      const path = join(fixture.directory, 'bad.yaml');
      writeFileSync(path, 'a: 1\na: 2\n');
      const { code, stderr } = await fixture.cais('run', '-f', path);
      expect({ code, stderr }).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/bad\.yaml:2: Map keys must be unique/),
      });
    });
  });
});
