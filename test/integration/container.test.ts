import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ContainerConfig } from '../../src/runtime/container-config.js';
import { ContainerRig, type RigEngine } from '../fixtures/container-rig.js';
import { usableHandlers } from '../fixtures/usable-handlers.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: containers need root');

const handlers = isRoot ? await usableHandlers() : ['native'];

describe.skipIf(!isRoot).each(handlers)('a container of the handler %s', (handler) => {
  let rig: ContainerRig;
  let engine: RigEngine;

  beforeEach(async () => {
    rig = await ContainerRig.open();
    rig.handler = handler;
    engine = rig.engine();
  });
  afterEach(() => rig.close());

  /** Runs a shell script to its end and gives its log, without times, and its exit. */
  const runScript = async (
    script: string,
    { sandbox = {}, ...container }: Partial<ContainerConfig> & { sandbox?: object } = {},
  ) => {
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig(sandbox));
    return runIn(sandboxId, script, container);
  };
  const runIn = async (
    sandboxId: string,
    script: string,
    container: Partial<ContainerConfig> = {},
  ) => {
    const config = rig.containerConfig({ command: ['/bin/sh', '-c', script], ...container });
    const { id, logPath } = await engine.containers.create(sandboxId, config);
    await engine.containers.start(id);
    const exit = await engine.containers.wait(id, { signal: AbortSignal.timeout(20_000) });
    const log = readFileSync(logPath ?? '', 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.replace(/^\S+ (stdout|stderr) [FP] /, ''));
    return { id, exit, log };
  };

  it('sees pid 1, its host name, only its environment, and no other descriptor', async () => {
    const { log, exit } = await runScript(
      'echo $$; hostname; echo env; env | sort; echo fds; ls /proc/self/fd | head -n 4; exit 3',
      { env: [['B', 'x y']] },
    );
    expect(exit).toMatchObject({ exitCode: 3, signal: 0, reason: 'Error' });
    const [pid, name, ...rest] = log;
    expect([pid, name]).toEqual(['1', 'web-0']);
    const variables = rest.slice(1, rest.indexOf('fds'));
    expect(variables.filter((line) => !/^(PWD|SHLVL|_)=/.test(line))).toEqual([
      'B=x y',
      'HOME=/root',
      'HOSTNAME=web-0',
      'PATH=/bin',
    ]);
    // 0 to 2, and the directory that ls itself has open.
    expect(rest.slice(rest.indexOf('fds') + 1)).toEqual(['0', '1', '2', '3']);
  });

  it('has empty inheritable capabilities, the default set, seccomp, no_new_privs, umask 0022', async () => {
    const { log } = await runScript(
      'grep -E "^(Cap|Seccomp:|NoNewPrivs|SigBlk)" /proc/self/status; umask',
    );
    const status = Object.fromEntries(log.map((line) => line.split(/:\s+/)));
    expect(status).toMatchObject({
      CapInh: '0000000000000000',
      CapPrm: '00000000a80425fb',
      CapEff: '00000000a80425fb',
      CapBnd: '00000000a80425fb',
      CapAmb: '0000000000000000',
      Seccomp: '2',
      NoNewPrivs: '1',
      SigBlk: '0000000000000000',
    });
    expect(log.at(-1)).toBe('0022');
  });

  it("has the caller's open-files limit and files of the pod", async () => {
    const { log } = await runScript(
      'ulimit -n; cat /etc/hostname; grep web-0 /etc/hosts; cat /etc/resolv.conf',
      { sandbox: { dns: { servers: ['10.9.8.7'], searches: ['a.b'] } } },
    );
    expect(log).toEqual([
      String(engine.parts.openFiles.soft),
      'web-0',
      '127.0.0.1\tweb-0',
      'search a.b',
      'nameserver 10.9.8.7',
    ]);
  });

  it('runs as the user and groups of the image', async () => {
    rig.imageUser = 'app';
    const { log } = await runScript(
      'id -u; id -g; id -G; echo $HOME; grep CapEff /proc/self/status',
      {
        security: { ...rig.containerConfig().security, supplementalGroups: [77] },
      },
    );
    expect(log).toEqual(['1000', '1001', '1001 10 77', '/home/app', 'CapEff:\t0000000000000000']);
  });

  it('cannot write below /proc/sys or /sys, nor see masked paths; a read-only root is read-only', async () => {
    const { log } = await runScript(
      'echo x > /proc/sys/kernel/hostname; echo x > /sys/x; cat /proc/kcore | wc -c; touch /x; touch /dev/shm/ok && echo shm',
      {
        security: { ...rig.containerConfig().security, readOnlyRootFilesystem: true },
      },
    );
    expect(log.filter((line) => line.includes('Read-only file system'))).toHaveLength(3);
    expect(log).toContain('0');
    expect(log).toContain('shm');
  });

  it('containers of one pod share the network and host name, not their processes', async () => {
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig());
    const first = await runIn(
      sandboxId,
      'readlink /proc/self/ns/net || ls -l /proc/self/ns/net; ls -d /proc/[0-9]* | wc -l',
    );
    const second = await runIn(sandboxId, 'ls -l /proc/self/ns/net', { name: 'b' });
    const inode = (line: string | undefined) => /net:\[\d+\]/.exec(line ?? '')?.[0];
    expect(inode(first.log[0])).toBeDefined();
    expect(inode(first.log[0])).toBe(inode(second.log[0]));
  });

  it('containers that share the process namespace see each other and the pause process', async () => {
    const { id: sandboxId } = await engine.sandboxes.run(
      rig.sandboxConfig({ shareProcessNamespace: true }),
    );
    const { log } = await runIn(sandboxId, 'cat /proc/1/comm; echo $$');
    expect(log[0]).toBe('pause');
    expect(Number(log[1])).toBeGreaterThan(1);
  });

  it('finds nothing but its own root above its root', async () => {
    const { log } = await runScript('ls /..; echo in; cd /../.. && ls; cat /proc/mounts | wc -l');
    const own = ['bin', 'dev', 'etc', 'home', 'proc', 'root', 'sys', 'tmp'];
    expect(log.slice(0, -1)).toEqual([...own, 'in', ...own]);
  });

  it('is held to its memory and process limits', async () => {
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig());
    const { id } = await engine.containers.create(
      sandboxId,
      rig.containerConfig({
        command: ['/bin/sleep', '1000'],
        resources: { memoryLimitBytes: 32 * 2 ** 20, pidsLimit: 50, cpuShares: 512 },
      }),
    );
    const { cgroup } = await engine.containers.start(id);
    await expect(engine.parts.native.readCgroupStats(cgroup)).resolves.toMatchObject({
      memoryLimitBytes: 32 * 2 ** 20,
      pids: 1,
    });
  });

  it('a missing program is a start error that names it', async () => {
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig());
    const { id } = await engine.containers.create(
      sandboxId,
      rig.containerConfig({ command: ['/bin/foo'] }),
    );
    await expect(engine.containers.start(id)).rejects.toMatchObject({
      code: 'START_FAILED',
      step: 'exec',
      errnoCode: 'ENOENT',
      path: '/bin/foo',
    });
    expect(engine.containers.get(id)?.exit).toMatchObject({ exitCode: 128, reason: 'StartError' });
  });

  it('a program that is not in PATH is named too', async () => {
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig());
    const { id } = await engine.containers.create(
      sandboxId,
      rig.containerConfig({ command: ['foo'] }),
    );
    await expect(engine.containers.start(id)).rejects.toThrow(
      'Cannot start container "app": executable "foo" not found in the PATH of the image (step exec, ENOENT)',
    );
  });

  it('a working directory that is missing is made, and descriptors are no way out', async () => {
    const { log } = await runScript('pwd', { workingDirectory: '/work/deep' });
    expect(log).toEqual(['/work/deep']);
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig());
    for (const fd of [3, 7, 8, 12]) {
      const { id } = await engine.containers.create(
        sandboxId,
        rig.containerConfig({ workingDirectory: `/proc/self/fd/${fd}`, command: ['/bin/pwd'] }),
      );
      await expect(engine.containers.start(id)).rejects.toMatchObject({ code: 'START_FAILED' });
    }
  });

  it('stop() sends SIGTERM, then SIGKILL', async () => {
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig());
    const start = async (name: string, script: string) => {
      const config = rig.containerConfig({ name, command: ['/bin/sh', '-c', script] });
      const { id } = await engine.containers.create(sandboxId, config);
      await engine.containers.start(id);
      return id;
    };
    const polite = await start('polite', 'trap "exit 9" TERM; while :; do sleep 0.05; done');
    // Until the trap is set, pid 1 ignores the signal; the stop is repeated by nobody, so give it all the time.
    await engine.containers.stop(polite, { timeoutMs: 1000 });
    expect([9, 137]).toContain(engine.containers.get(polite)?.exit?.exitCode);
    const stubborn = await start('stubborn', 'trap "" TERM; while :; do sleep 0.05; done');
    await engine.containers.stop(stubborn, { timeoutMs: 50 });
    expect(engine.containers.get(stubborn)?.exit).toMatchObject({ exitCode: 137, signal: 9 });
  });

  it('exec() runs beside the container, with its user, and collects the output', async () => {
    rig.imageUser = 'app';
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig());
    const { id } = await engine.containers.create(
      sandboxId,
      rig.containerConfig({ command: ['/bin/sleep', '1000'] }),
    );
    await engine.containers.start(id);
    const exec = (script: string, options = {}) =>
      engine.containers.exec(id, { command: ['/bin/sh', '-c', script], ...options });
    const { exitCode, stdout, stderr } = await exec(
      'id -u; cat /proc/1/cmdline; echo oops >&2; grep -E "^(CapInh|Seccomp:)" /proc/self/status; exit 5',
    );
    expect(exitCode).toBe(5);
    expect(stdout.toString().replaceAll('\0', ' ')).toBe(
      '1000\n/bin/sleep 1000 CapInh:\t0000000000000000\nSeccomp:\t2\n',
    );
    expect(stderr.toString()).toBe('oops\n');
    await expect(exec('sleep 100', { timeoutMs: 200 })).rejects.toMatchObject({
      code: 'TIMED_OUT',
    });
    await expect(engine.containers.exec(id, { command: ['/nope'] })).rejects.toMatchObject({
      code: 'START_FAILED',
      step: 'exec',
    });
    const big = await exec('yes | head -c 20000000');
    expect(big.stdout.length).toBe(16 * 2 ** 20);
  });
});
