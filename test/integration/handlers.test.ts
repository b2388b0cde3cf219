import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { execCommand } from '../../src/container/exec.js';
import { loadNative } from '../../src/native.js';
import type { ContainerConfig } from '../../src/runtime/container-config.js';
import { RuntimeHandlers } from '../../src/runtime/handlers.js';
import { NO_FEATURES } from '../../src/runtime/oci-features.js';
import { isAlive } from '../../src/sandbox/process-identity.js';
import { sandboxPaths } from '../../src/sandbox/sandbox-record.js';
import { ContainerRig, type RigEngine } from '../fixtures/container-rig.js';
import { mountsBelow } from '../fixtures/leak-check.js';
import { usableHandlers } from '../fixtures/usable-handlers.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: containers need root');
const handlers = isRoot ? await usableHandlers() : ['native'];
const PATIENCE = { timeout: 20_000 * Number(process.env['CAIS_TIME_FACTOR'] ?? 1) };

let rig: ContainerRig;
let engine: RigEngine;

/** Starts a container that runs a shell script, in a sandbox of its own unless one is given. */
async function start(
  script: string,
  { sandboxId, sandbox = {}, ...changes }: StartChanges = {},
): Promise<{ readonly id: string; readonly sandboxId: string; readonly log: () => string[] }> {
  const pod = sandboxId ?? (await engine.sandboxes.run(rig.sandboxConfig(sandbox))).id;
  const config = rig.containerConfig({ command: ['/bin/sh', '-c', script], ...changes });
  const { id, logPath = '' } = await engine.containers.create(pod, config);
  await engine.containers.start(id);
  const log = () =>
    readFileSync(logPath, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.replace(/^\S+ (stdout|stderr) [FP] /, '').trimEnd());
  return { id, sandboxId: pod, log };
}

type StartChanges = Partial<ContainerConfig> & { sandboxId?: string; sandbox?: object };

/** Runs it to its end. */
async function run(script: string, changes: StartChanges = {}) {
  const started = await start(script, changes);
  const exit = await engine.containers.wait(started.id, { signal: AbortSignal.timeout(30_000) });
  return { ...started, exit, log: started.log() };
}

const unprivileged = () => rig.containerConfig().security;

describe.skipIf(!isRoot).each(handlers)('containers of the handler %s', (handler) => {
  beforeEach(async () => {
    rig = await ContainerRig.open();
    rig.handler = handler;
    engine = rig.engine();
  });
  afterEach(() => rig.close());

  it('have a terminal with a size, input and output', async () => {
    const { id, sandboxId, log } = await start(
      'read line; echo "got $line"; busybox stty size; tty',
      { terminal: true, stdin: true },
    );
    const client = await engine.sandboxes.client(sandboxId);
    await client.resize({ id, rows: 33, columns: 101 });
    const { fd, peerFd } = loadNative().createSocketPair();
    await client.attach({ id, stdin: true, stdout: true, stderr: false }, { socketFd: peerFd });
    closeSync(peerFd);
    const socket = new Socket({ fd, readable: true, writable: true });
    try {
      socket.resume().write('hello\n');
      await expect(engine.containers.wait(id)).resolves.toMatchObject({ exitCode: 0 });
    } finally {
      socket.destroy();
    }
    expect(log()).toEqual(['hello', 'got hello', '33 101', '/dev/pts/0']);
  });

  it('read what an attached client writes, until it closes its end', async () => {
    const { id, sandboxId, log } = await start('cat; echo end', { stdin: true, stdinOnce: true });
    const client = await engine.sandboxes.client(sandboxId);
    const { fd, peerFd } = loadNative().createSocketPair();
    await client.attach({ id, stdin: true, stdout: false, stderr: false }, { socketFd: peerFd });
    closeSync(peerFd);
    new Socket({ fd, readable: true, writable: true }).resume().end('a\nb\n');
    await expect(engine.containers.wait(id)).resolves.toMatchObject({ exitCode: 0 });
    expect(log()).toEqual(['a', 'b', 'end']);
  });

  it('have volumes, read-only or not, tmpfs, and directories that the image declares', async () => {
    const directory = join(rig.directory, 'volume');
    mkdirSync(directory);
    writeFileSync(join(directory, 'file'), 'content\n');
    rig.imageVolumes = ['/declared/volume'];
    const bind = (containerPath: string, readOnly: boolean) =>
      ({ type: 'bind', hostPath: directory, containerPath, readOnly }) as const;
    const { log } = await run(
      'cat /ro/file; touch /ro/x || echo refused; touch /rw/new && echo wrote; stat -f -c %T /scratch; ls -d /declared/volume',
      {
        mounts: [
          bind('/ro', true),
          bind('/rw', false),
          { type: 'tmpfs', containerPath: '/scratch', sizeBytes: 2 ** 20 },
        ],
      },
    );
    expect(log.filter((line) => !line.startsWith('touch:'))).toEqual([
      'content',
      'refused',
      'wrote',
      'tmpfs',
      '/declared/volume',
    ]);
    expect(existsSync(join(directory, 'new'))).toBe(true);
  });

  it('propagate mounts in both directions where a volume asks for it', async () => {
    const directory = join(rig.directory, 'shared');
    mkdirSync(directory);
    const mount = (...args: string[]) => execFileSync('mount', args);
    mount('-t', 'tmpfs', 'test', directory);
    try {
      mount('--make-shared', directory);
      mkdirSync(join(directory, 'of-host'));
      const { id, log } = await start(
        'mkdir /v/of-container && busybox mount -t tmpfs t /v/of-container && touch /v/of-container/x; echo ready; while ! test -e /v/of-host/y; do sleep 0.05; done; echo seen',
        {
          mounts: [
            {
              type: 'bind',
              hostPath: directory,
              containerPath: '/v',
              readOnly: false,
              propagation: 'bidirectional',
            },
          ],
          security: { ...unprivileged(), privileged: true },
        },
      );
      await expect.poll(log, PATIENCE).toContain('ready');
      expect(existsSync(join(directory, 'of-container', 'x'))).toBe(true);
      mount('-t', 'tmpfs', 'test', join(directory, 'of-host'));
      writeFileSync(join(directory, 'of-host', 'y'), '');
      await engine.containers.wait(id, { signal: AbortSignal.timeout(20_000) });
      expect(log()).toEqual(['ready', 'seen']);
    } finally {
      execFileSync('umount', ['-R', '-l', directory]);
    }
  });

  it('may be privileged: all capabilities, no filter, nothing masked, writable /sys', async () => {
    const { log } = await run(
      'grep -E "^(CapEff|Seccomp):" /proc/self/status; grep -E " /sys sysfs " /proc/mounts; grep -c " /proc/" /proc/mounts',
      { security: { ...unprivileged(), privileged: true, noNewPrivileges: false } },
    );
    const expected = engine.parts.hostCapabilities.toString(16).padStart(16, '0');
    expect(log[0]).toBe(`CapEff:\t${expected}`);
    expect(log[1]).toBe('Seccomp:\t0');
    expect(log[2]).toMatch(/ rw,/);
    expect(log[3]).toBe('0');
  });

  it('of one pod share /dev/shm', async () => {
    const first = await run('echo hello > /dev/shm/a');
    const second = await run('cat /dev/shm/a', { sandboxId: first.sandboxId, name: 'b' });
    expect(second.log).toEqual(['hello']);
  });

  it('that are killed for want of memory say so', async () => {
    const { exit } = await run('busybox tail /dev/zero', {
      resources: { memoryLimitBytes: 16 * 2 ** 20, memorySwapLimitBytes: 16 * 2 ** 20 },
    });
    expect(exit).toMatchObject({ oomKilled: true, reason: 'OOMKilled' });
  });

  it('have the score for the OOM killer that they ask for, as far as the kernel permits', async () => {
    const score = async (oomScoreAdj?: number) => {
      const resources = oomScoreAdj === undefined ? {} : { oomScoreAdj };
      const { log } = await run('cat /proc/self/oom_score_adj', { resources });
      // The log of an earlier attempt is continued.
      return Number(log.at(-1));
    };
    const own = Number(readFileSync('/proc/self/oom_score_adj', 'utf8'));
    await expect(score()).resolves.toBe(own);
    await expect(score(700)).resolves.toBe(700);
    expect([-998, own]).toContain(await score(-998));
  });

  it('use a seccomp profile of the host', async () => {
    const path = join(rig.directory, 'seccomp.json');
    const profile = {
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 1 }],
    };
    writeFileSync(path, JSON.stringify(profile));
    const { log } = await run('mkdir /tmp/x || echo refused', {
      security: { ...unprivileged(), seccomp: { path } },
    });
    expect(log).toContain('refused');
  });

  it('take every process along when they are removed, and nothing of them is mounted meanwhile', async () => {
    const script = 'busybox setsid sleep 1000 & busybox setsid sleep 1000 & wait';
    const { id, sandboxId } = await start(script, { sandbox: { hostPid: true } });
    const { process: identity, cgroup } = rig.containerRecords.get(id) ?? {};
    await expect
      .poll(async () => (await loadNative().readCgroupStats(cgroup ?? '')).pids, PATIENCE)
      .toBe(3);
    expect(mountsBelow(rig.directory)).toEqual([]);
    await engine.containers.remove(id);
    expect(identity !== undefined && isAlive(identity)).toBe(false);
    expect(existsSync(sandboxPaths(rig.config, sandboxId).bundle(id))).toBe(false);
    await expect(loadNative().readCgroupStats(cgroup ?? '')).rejects.toThrow();
  });

  it('leave no process behind that outlives their first one in a shared process namespace', async () => {
    const { id, sandboxId, log } = await run('busybox setsid sleep 1000 & echo $!', {
      sandbox: { hostPid: true },
    });
    const { cgroup } = rig.containerRecords.get(id) ?? raise();
    await expect
      .poll(async () => (await loadNative().readCgroupStats(cgroup)).pids, PATIENCE)
      .toBe(0);
    await expect.poll(() => existsSync(`/proc/${log[0]}`), PATIENCE).toBe(false);
    expect(engine.sandboxes.get(sandboxId)?.state).toBe('ready');
  });

  it('are started and entered many at a time', async () => {
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig());
    const ran = await Promise.all(
      [1, 2, 3, 4, 5, 6].map((code) => run(`exit ${code}`, { sandboxId, name: `c${code}` })),
    );
    expect(ran.map(({ exit }) => exit.exitCode)).toEqual([1, 2, 3, 4, 5, 6]);
    const { id } = await start('sleep 1000', { sandboxId });
    const outputs = await Promise.all(
      Array.from({ length: 12 }, (_, index) =>
        execCommand(engine.parts, id, {
          command: ['/bin/sh', '-c', `echo ${index}; exit ${index}`],
        }),
      ),
    );
    expect(outputs.map(({ exitCode }) => exitCode)).toEqual(outputs.map((_, index) => index));
    expect(outputs.map(({ stdout }) => Number(stdout))).toEqual(outputs.map((_, index) => index));
  });

  it('hand every character of a command on', async () => {
    const { id } = await start('sleep 1000');
    const text = 'a "quoted" \\ back\\slash\ttab\nline \u0001 ünï — 🚢';
    const { stdout } = await execCommand(engine.parts, id, {
      command: ['/bin/sh', '-c', 'busybox printf %s "$1"', 'sh', text],
    });
    expect(stdout.toString()).toBe(text);
  });

  it('that share their process namespace are entered and end with their first process', async () => {
    const { id } = await start('sleep 1000 & sleep 1000', {
      sandbox: { shareProcessNamespace: true },
    });
    const command = ['/bin/sh', '-c', 'cat /proc/1/comm'];
    const { stdout } = await execCommand(engine.parts, id, { command });
    expect(stdout.toString()).toBe('pause\n');
    await engine.containers.stop(id, { timeoutMs: 0 });
    expect(engine.containers.get(id)?.exit).toMatchObject({ exitCode: 137 });
  });

  it('that cannot be started leave nothing, and can be removed', async () => {
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig());
    const { id } = await engine.containers.create(
      sandboxId,
      rig.containerConfig({ command: ['/etc/passwd'] }),
    );
    await expect(engine.containers.start(id)).rejects.toMatchObject({
      code: 'START_FAILED',
      // Not every runtime says which program it is.
      message: expect.stringMatching(/"\/etc\/passwd" may not be executed|permission denied/i),
    });
    expect(existsSync(sandboxPaths(rig.config, sandboxId).bundle(id))).toBe(false);
    await engine.containers.remove(id);
  });
});

describe.skipIf(!isRoot)('runtime handlers', () => {
  beforeEach(async () => {
    rig = await ContainerRig.open();
    engine = rig.engine();
  });
  afterEach(() => rig.close());

  it('a sandbox of a handler that is not configured is refused by its name', async () => {
    const config = rig.sandboxConfig({ runtimeHandler: 'katana' });
    await expect(engine.sandboxes.run(config)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('Runtime handler "katana" is not configured'),
    });
    expect(engine.sandboxes.list()).toEqual([]);
  });

  it('list() tells the truth about runc', async () => {
    const { config } = rig;
    const listed = await new RuntimeHandlers({ config, nativeFeatures: NO_FEATURES }).list();
    expect(listed).toContainEqual({
      name: 'runc',
      type: 'oci',
      isDefault: false,
      features: { recursiveReadOnlyMounts: true, userNamespaces: false },
    });
    expect(listed).toContainEqual({
      name: 'native',
      type: 'native',
      isDefault: true,
      features: NO_FEATURES,
    });
  });

  it('a start goes on when its engine dies, and the next one finds it; a second start is the same one', async () => {
    const program = join(rig.directory, 'runtime');
    const script = `#!/bin/sh\ncase " $* " in *" start "*) sleep 2;; esac\nexec runc "$@"\n`;
    writeFileSync(program, script, { mode: 0o755 });
    Object.assign(rig.config.handlers, { slow: { type: 'oci', path: program } });
    rig.handler = 'slow';
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig());
    const config = rig.containerConfig({ command: ['/bin/sleep', '1000'] });
    const { id } = await engine.containers.create(sandboxId, config);
    const client = await engine.sandboxes.client(sandboxId);
    const first = engine.containers.start(id);
    await expect
      .poll(async () => (await client.status()).containers[0]?.state, PATIENCE)
      .toBe('created');
    // The records say that its process is gone; that it still listens does no harm.
    const dead = { pid: 2 ** 22 - 1, startTicks: 1 };
    await rig.containerRecords.update(id, (record) => record && { ...record, creator: dead });
    await rig.sandboxRecords.update(sandboxId, (record) => record && { ...record, owner: dead });
    const second = rig.engine();
    await second.recover();
    const [started] = await Promise.all([second.containers.start(id), first]);
    expect(started.state).toBe('running');
    expect(started.process !== undefined && isAlive(started.process)).toBe(true);
    await expect.poll(() => second.containers.get(id)?.state, PATIENCE).toBe('running');
  });

  it('a runtime that fails is named with what it says, and nothing is left', async () => {
    const program = join(rig.directory, 'runtime');
    writeFileSync(program, '#!/bin/sh\necho "no such luck" >&2\nexit 3\n', { mode: 0o755 });
    Object.assign(rig.config.handlers, { broken: { type: 'oci', path: program } });
    rig.handler = 'broken';
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig());
    const { id } = await engine.containers.create(sandboxId, rig.containerConfig());
    await expect(engine.containers.start(id)).rejects.toMatchObject({
      step: 'runtime',
      message: `Cannot start container "app": "${program}" says: no such luck (step runtime, CHECK)`,
    });
    await engine.containers.remove(id);
  });
});

function raise(): never {
  throw new Error('No record');
}
