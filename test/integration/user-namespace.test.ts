import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { statePaths } from '../../src/config.js';
import { execCommand } from '../../src/container/exec.js';
import type { ContainerConfig } from '../../src/runtime/container-config.js';
import type { SandboxConfig } from '../../src/runtime/sandbox-config.js';
import { ContainerRig, type RigEngine } from '../fixtures/container-rig.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: containers need root');

const FIRST = 300_000;
const RANGE = { hostId: FIRST, containerId: 0, length: 65_536 };
const USER_NAMESPACE = { uids: RANGE, gids: RANGE };

describe.skipIf(!isRoot)('a pod with a user namespace of its own', () => {
  let rig: ContainerRig;
  let engine: RigEngine;
  let volume: string;

  beforeEach(async () => {
    rig = await ContainerRig.open();
    engine = rig.engine();
    volume = join(rig.directory, 'volume');
    mkdirSync(volume);
    writeFileSync(join(volume, 'root'), '', { mode: 0o600 });
    writeFileSync(join(volume, 'user'), '');
    chownSync(join(volume, 'user'), 1000, 1001);
  });
  afterEach(() => rig.close());

  const sandbox = async (changes: Partial<SandboxConfig> = {}) => {
    const config = rig.sandboxConfig({ userNamespace: USER_NAMESPACE, ...changes });
    return (await engine.sandboxes.run(config)).id;
  };
  const startIn = async (sandboxId: string, changes: Partial<ContainerConfig> = {}) => {
    const { id } = await engine.containers.create(
      sandboxId,
      rig.containerConfig({ command: ['/bin/sleep', '1000'], ...changes }),
    );
    await engine.containers.start(id);
    return id;
  };
  const start = async (changes: Partial<ContainerConfig> = {}, pod: Partial<SandboxConfig> = {}) =>
    startIn(await sandbox(pod), changes);
  const run = async (id: string, script: string) => {
    const { stdout, stderr } = await execCommand(engine.parts, id, {
      command: ['/bin/sh', '-c', script],
    });
    return `${stdout}${stderr}`.trim();
  };
  const pidOf = (id: string) => engine.containers.get(id)?.process?.pid ?? 0;

  it('maps its ids, for the first process and for commands, and is pid 1', async () => {
    const id = await start({
      command: [
        '/bin/sh',
        '-c',
        'cat /proc/self/uid_map /proc/self/gid_map; echo $$; sleep 1000; true',
      ],
    });
    const map = `0 ${FIRST} 65536`;
    expect((await run(id, 'cat /proc/self/uid_map /proc/self/gid_map')).replace(/ +/g, ' ')).toBe(
      `${map}\n ${map}`,
    );
    expect(await run(id, 'id -u; id -g; ls -d /proc/1; cat /proc/1/cmdline | head -c 7')).toBe(
      '0\n0\n/proc/1\n/bin/sh',
    );
    const status = readFileSync(`/proc/${pidOf(id)}/status`, 'utf8');
    expect(status).toMatch(new RegExp(`^Uid:\\t${FIRST}\\t${FIRST}\\t${FIRST}\\t${FIRST}$`, 'm'));
    expect(status).toMatch(/^NSpid:\t\d+\t1$/m);
    const log = readFileSync(engine.containers.get(id)?.logPath ?? '', 'utf8');
    expect(log).toMatch(/ stdout F 1\n$/);
  });

  it('owns its other namespaces', async () => {
    const id = await start();
    const user = readlinkSync(`/proc/${pidOf(id)}/ns/user`);
    expect(user).not.toBe(readlinkSync('/proc/self/ns/user'));
    // NS_GET_USERNS, by a program that has it: the owner of each.
    const owners = execFileSync('python3', [
      '-c',
      `
import fcntl, os, sys
for name in ['net', 'ipc', 'uts', 'mnt', 'pid', 'cgroup']:
    fd = os.open(f'/proc/{sys.argv[1]}/ns/{name}', os.O_RDONLY)
    print(name, os.readlink(f'/proc/self/fd/{fcntl.ioctl(fd, 0xb701)}'))
`,
      String(pidOf(id)),
    ]).toString();
    const names = ['net', 'ipc', 'uts', 'mnt', 'pid', 'cgroup'];
    expect(owners.trim().split('\n')).toEqual(names.map((name) => `${name} ${user}`));
  });

  it('shows the files of the image as their owners, and keeps what is written under mapped ids', async () => {
    writeFileSync(join(rig.layer, 'etc/secret'), 'secret\n');
    chmodSync(join(rig.layer, 'etc/secret'), 0o600);
    chownSync(join(rig.layer, 'home/app'), 1000, 1001);
    const id = await start();
    expect(
      await run(
        id,
        'stat -c %u:%g / /bin/busybox /home/app; cat /etc/secret; echo more >> /etc/secret; echo x > /new; chown 1000 /new; stat -c %u:%g /etc/secret /new',
      ),
    ).toBe('0:0\n0:0\n1000:1001\nsecret\n0:0\n1000:0');
    const upper = join(statePaths(rig.config).active, id, 'upper');
    const owner = (path: string) => {
      const { uid, gid } = statSync(join(upper, path));
      return [uid - FIRST, gid - FIRST];
    };
    expect(owner('etc/secret')).toEqual([0, 0]);
    expect(owner('new')).toEqual([1000, 0]);
    expect(statSync(join(rig.layer, 'etc/secret')).size).toBe(7);
  });

  it('has the file systems of the kernel, devices, files of the pod, and shared memory', async () => {
    const id = await start({}, { dns: { servers: ['10.9.8.7'], searches: [] } });
    const mounts = await run(id, 'cut -d" " -f2,3 /proc/mounts');
    for (const line of ['/proc proc', '/sys sysfs', '/dev tmpfs', '/dev/pts devpts']) {
      expect(mounts).toContain(line);
    }
    expect(mounts).toContain('/dev/mqueue mqueue');
    expect(await run(id, 'echo lost > /dev/null; head -c 4 /dev/zero | wc -c; ls /dev/fd/0')).toBe(
      '4\n/dev/fd/0',
    );
    expect(
      await run(id, 'stat -c "%u %a" /dev/null /dev/shm; touch /dev/shm/x /dev/mqueue/q'),
    ).toBe('0 666\n0 1777');
    expect(await run(id, 'grep nameserver /etc/resolv.conf; stat -c %u /etc/hosts; hostname')).toBe(
      'nameserver 10.9.8.7\n0\nweb-0',
    );
    expect(await run(id, 'mkdir /sys/fs/cgroup/x; mkdir /sys/fs/cgroup/memory/x')).toMatch(
      /(Read-only file system|No such file).*\n.*Read-only file system/,
    );
    expect(await run(id, 'cat /proc/kcore | wc -c; echo 1 > /proc/sys/kernel/panic')).toContain(
      '0\n',
    );
    expect(await run(id, 'echo again > /dev/stdout')).toBe('again');
  });

  it('shares its network, with sysctls, between its containers, and no rights of the host', async () => {
    const id = await sandbox({
      sysctls: { 'net.ipv4.ip_unprivileged_port_start': '7', 'kernel.shm_rmid_forced': '1' },
    });
    const capable = {
      security: {
        ...rig.containerConfig().security,
        addCapabilities: ['ALL'],
        seccomp: 'unconfined' as const,
      },
    };
    const one = await startIn(id, capable);
    const two = await startIn(id, { name: 'two' });
    const cat =
      'cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced';
    expect(await run(one, cat)).toBe('7\n1');
    expect(readlinkSync(`/proc/${pidOf(one)}/ns/net`)).toBe(
      readlinkSync(`/proc/${pidOf(two)}/ns/net`),
    );
    expect(await run(one, 'ip link set lo down && echo down')).toBe('down');
    expect(await run(one, 'mknod /x c 1 1')).toMatch(/not permitted|not found/);
    expect(await run(one, 'mount -t tmpfs tmpfs /tmp && echo mounted')).toBe('mounted');
  });

  it('runs users of the image with their groups', async () => {
    rig.imageUser = 'app';
    const id = await start();
    expect(
      await run(id, 'id -u; id -G; grep ^CapEff /proc/self/status; echo x > /dev/stderr'),
    ).toBe('1000\n1001 10\nCapEff:\t0000000000000000\nx');
    expect(readFileSync(`/proc/${pidOf(id)}/status`, 'utf8')).toContain(`Uid:\t${FIRST + 1000}\t`);
  });

  it('may share its process namespace, whose first process is ours', async () => {
    const id = await sandbox({ shareProcessNamespace: true });
    const one = await startIn(id);
    const two = await startIn(id, { name: 'two', command: ['/bin/sleep', '777'] });
    expect(await run(one, 'cat /proc/1/comm')).toBe('pause');
    expect(await run(one, 'ps')).toContain('sleep 777');
    expect(
      await run(
        one,
        `kill $(ps | grep "sleep 777" | grep -v grep | sed 's/^ *//' | cut -d' ' -f1) || kill -9 -1`,
      ),
    ).toBe('');
    await engine.containers.wait(two, { signal: AbortSignal.timeout(10_000) });
  });

  it('lets a container join the processes of another', async () => {
    const id = await sandbox();
    const target = await startIn(id, { command: ['/bin/sleep', '777'] });
    const debug = await startIn(id, { name: 'debug', processNamespaceOf: target });
    expect(await run(debug, 'ps')).toContain('sleep 777');
    expect(readlinkSync(`/proc/${pidOf(debug)}/ns/pid`)).toBe(
      readlinkSync(`/proc/${pidOf(target)}/ns/pid`),
    );
  });

  it('may use the network of the host', async () => {
    const id = await start({}, { hostNetwork: true });
    expect(readlinkSync(`/proc/${pidOf(id)}/ns/net`)).toBe(readlinkSync('/proc/self/ns/net'));
    expect(await run(id, 'ls /sys/class/net; id -u')).toMatch(/lo\n.*0$/s);
  });

  it('has a terminal', async () => {
    const id = await start({
      terminal: true,
      command: [
        '/bin/sh',
        '-c',
        'stat -c "%u %F" /dev/console; test -t 0 && echo terminal; sleep 1000',
      ],
    });
    await expect
      .poll(() => readFileSync(engine.containers.get(id)?.logPath ?? '', 'utf8'), {
        timeout: 10_000,
      })
      .toMatch(/0 character special file\r?\n.*terminal/s);
  });

  it('exits are seen, also of what fails at once', async () => {
    const id = await sandbox();
    const exits = async (script: string) => {
      const record = await engine.containers.create(
        id,
        rig.containerConfig({ command: ['/bin/sh', '-c', script] }),
      );
      await engine.containers.start(record.id);
      return engine.containers.wait(record.id, { signal: AbortSignal.timeout(10_000) });
    };
    for (let turn = 0; turn < 5; turn++) {
      expect(await exits(`exit ${turn}`)).toMatchObject({ exitCode: turn, signal: 0 });
    }
    const { id: missing } = await engine.containers.create(
      id,
      rig.containerConfig({ command: ['/nope'] }),
    );
    await expect(engine.containers.start(missing)).rejects.toMatchObject({
      step: 'exec',
      errnoCode: 'ENOENT',
    });
    const long = await startIn(id);
    await engine.containers.stop(long, { timeoutMs: 0 });
    expect(engine.containers.get(long)?.exit).toMatchObject({ exitCode: 137, signal: 9 });
  });

  it('is held to limits in the cgroup of the pod, as any other', async () => {
    const id = await start({ resources: { memoryLimitBytes: 32 * 2 ** 20, pidsLimit: 50 } });
    const record = engine.containers.get(id);
    await expect(engine.parts.native.readCgroupStats(record?.cgroup ?? '')).resolves.toMatchObject({
      memoryLimitBytes: 32 * 2 ** 20,
      pids: 1,
    });
    expect(record?.cgroup.startsWith(engine.sandboxes.get(record.sandboxId)?.cgroup ?? '-')).toBe(
      true,
    );
  });

  it('gives a privileged container no device of the host', async () => {
    const id = await start({
      security: { ...rig.containerConfig().security, privileged: true, noNewPrivileges: false },
    });
    expect(await run(id, 'ls /dev')).not.toContain('kmsg');
    expect(await run(id, 'ls /dev')).toContain('null');
  });

  it('gives a container the devices that it asks for, as its root’s', async () => {
    const node = join(rig.directory, 'node');
    execFileSync('mknod', ['-m', '600', node, 'c', '10', '237']);
    const id = await start({
      devices: [{ hostPath: node, containerPath: '/dev/sub/node', permissions: 'rw' }],
    });
    expect(await run(id, 'stat -c "%u %a" /dev/sub/node; : < /dev/sub/node && echo opened')).toBe(
      '0 600\nopened',
    );
  });

  it('starts again from another engine', async () => {
    const id = await sandbox();
    const { id: containerId } = await engine.containers.create(
      id,
      rig.containerConfig({ command: ['/bin/sleep', '1000'] }),
    );
    await engine.close();
    engine = rig.engine();
    await engine.recover();
    await engine.containers.start(containerId);
    expect(await run(containerId, 'stat -c %u /bin/busybox /')).toBe('0\n0');
  });

  it.each<[string, Partial<SandboxConfig>]>([
    ['does not map id 0', { userNamespace: { uids: { ...RANGE, containerId: 1 }, gids: RANGE } }],
    ['differently', { userNamespace: { uids: { ...RANGE, length: 5 }, gids: RANGE } }],
    ['Invalid mapping', { userNamespace: { uids: { ...RANGE, length: 0 }, gids: RANGE } }],
    [
      'Invalid mapping',
      { userNamespace: { uids: { ...RANGE, hostId: 2 ** 32 - 2 }, gids: RANGE } },
    ],
    ['process namespace', { hostPid: true }],
    ['IPC namespace', { hostIpc: true }],
  ])('is refused: %s', async (message, changes) => {
    await expect(sandbox(changes)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(message),
    });
  });

  it('refuses users that it does not have', async () => {
    const security = { ...rig.containerConfig().security, runAsUser: 65_536 };
    await expect(
      engine.containers.create(await sandbox(), rig.containerConfig({ security })),
    ).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('Id 65536 is outside the user namespace'),
    });
  });
});
