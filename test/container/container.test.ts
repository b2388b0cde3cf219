import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NativeError } from '../../src/errors.js';
import { EngineRig, type FakeEngine } from '../fakes/engine-rig.js';

describe('ContainerService', () => {
  let rig: EngineRig;
  let engine: FakeEngine;
  let sandboxId: string;

  beforeEach(async () => {
    rig = await EngineRig.open();
    engine = rig.engine();
    sandboxId = (await engine.sandboxes.run(rig.sandboxConfig())).id;
  });
  afterEach(() => rig.close());

  const start = async (changes = {}) => {
    const { id } = await engine.containers.create(sandboxId, rig.containerConfig(changes));
    await engine.containers.start(id);
    return id;
  };

  it('create(), start(), wait() follow a container to its end', async () => {
    const created = await engine.containers.create(sandboxId, rig.containerConfig());
    expect(created.state).toBe('created');
    const started = await engine.containers.start(created.id);
    expect(started).toMatchObject({ state: 'running', process: { startTicks: 1 } });
    const waiting = engine.containers.wait(created.id);
    rig.machine.supervisor(sandboxId).exit(created.id, 3);
    await expect(waiting).resolves.toMatchObject({ exitCode: 3, reason: 'Error' });
    await expect(engine.containers.wait(created.id)).resolves.toMatchObject({ exitCode: 3 });
    expect(engine.containers.get(created.id)?.state).toBe('exited');
    expect(engine.containers.get(created.id)?.process).toBeUndefined();
  });

  it('start() sends the root and the files of the pod in one frame', async () => {
    await start();
    const [launch] = rig.machine.supervisor(sandboxId).launches;
    expect(launch?.number(36)).toBe(1);
    const files = launch?.records(39).map((file) => [file.string(1), file.string(2)]);
    expect(files?.map(([path]) => path)).toEqual([
      '/etc/hosts',
      '/etc/resolv.conf',
      '/etc/hostname',
    ]);
    expect(files?.[0]?.[1]).toContain('10.88.0.2\tweb\n');
    expect(files?.[1]?.[1]).toBe('nameserver 10.0.0.1\n');
    expect(launch?.string(11)).toBe(join(rig.directory, 'logs'));
    expect(existsSync(join(rig.directory, 'logs', 'app'))).toBe(true);
  });

  it('a failed start is an exit with code 128 and a message for a person', async () => {
    const supervisor = rig.machine.supervisor(sandboxId);
    const { id } = await engine.containers.create(sandboxId, rig.containerConfig());
    supervisor.failStart = { step: 'exec', errno: 2, path: '/bin/foo' };
    await expect(engine.containers.start(id)).rejects.toMatchObject({
      code: 'START_FAILED',
      step: 'exec',
      errnoCode: 'ENOENT',
      message:
        'Cannot start container "app": executable "/bin/foo", or the interpreter it names, not found in the image (step exec, ENOENT)',
    });
    await expect(engine.containers.wait(id)).resolves.toMatchObject({
      exitCode: 128,
      reason: 'StartError',
    });
    expect([...rig.machine.cgroups.keys()].some((path) => path.endsWith(id))).toBe(false);
  });

  it('start() refuses a second start', async () => {
    const id = await start();
    await expect(engine.containers.start(id)).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
    });
    expect(engine.containers.get(id)?.state).toBe('running');
  });

  it('stop() sends the stop signal, and kills when it is not followed', async () => {
    const polite = await start({ stopSignal: 'SIGINT' });
    await engine.containers.stop(polite, { timeoutMs: 5000 });
    expect(engine.containers.get(polite)?.exit).toMatchObject({ exitCode: 130, signal: 2 });

    const stubborn = await start();
    rig.machine.supervisor(sandboxId).stubborn = true;
    await engine.containers.stop(stubborn, { timeoutMs: 20 });
    await engine.containers.stop(stubborn, { timeoutMs: 20 });
    expect(engine.containers.get(stubborn)?.exit).toMatchObject({ exitCode: 137, signal: 9 });
  });

  it('a second stop() with less time shortens the first', async () => {
    const id = await start();
    rig.machine.supervisor(sandboxId).stubborn = true;
    const first = engine.containers.stop(id, { timeoutMs: 50_000 });
    await engine.containers.stop(id, { timeoutMs: 10 });
    await first;
    expect(engine.containers.get(id)?.state).toBe('exited');
  });

  it('stop() of a container that was never started ends it', async () => {
    const { id } = await engine.containers.create(sandboxId, rig.containerConfig());
    const waiting = engine.containers.wait(id);
    await engine.containers.stop(id, { timeoutMs: 10 });
    await expect(waiting).resolves.toMatchObject({ reason: 'SandboxStopped' });
  });

  it('remove() takes a running container away, and succeeds when there is none', async () => {
    const id = await start();
    await engine.containers.remove(id);
    await engine.containers.remove(id);
    expect(engine.containers.get(id)).toBeUndefined();
    await engine.sandboxes.remove(sandboxId);
    expect(await settledLeftovers()).toEqual([]);
  });

  it('removing the sandbox removes its containers', async () => {
    await start();
    await engine.containers.create(sandboxId, rig.containerConfig());
    await engine.sandboxes.remove(sandboxId);
    expect(engine.containers.list()).toEqual([]);
    expect(await settledLeftovers()).toEqual([]);
  });

  it('wait() is told when the supervisor dies', async () => {
    const id = await start();
    const waiting = engine.containers.wait(id);
    await rig.machine.kill(rig.machine.supervisor(sandboxId));
    await expect(waiting).resolves.toMatchObject({ exitCode: 137, reason: 'SupervisorDied' });
    expect(engine.sandboxes.get(sandboxId)).toMatchObject({ state: 'notready' });
  });

  it('wait() in a second engine hears of the end, and of a removal', async () => {
    const id = await start();
    const second = rig.engine();
    const waiting = second.containers.wait(id);
    await expect.poll(() => rig.machine.supervisor(sandboxId).requests.length).toBeGreaterThan(2);
    await engine.containers.remove(id);
    await expect(waiting).resolves.toMatchObject({ exitCode: 137 });
    await expect(second.containers.wait(id)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('wait() ends with its signal', async () => {
    const id = await start();
    const signal = AbortSignal.timeout(10);
    await expect(engine.containers.wait(id, { signal })).rejects.toMatchObject({
      name: 'TimeoutError',
    });
  });

  it('the pause process is started once, before the first container', async () => {
    const shared = await engine.sandboxes.run(rig.sandboxConfig({ shareProcessNamespace: true }));
    for (const name of ['a', 'b']) {
      const { id } = await engine.containers.create(shared.id, rig.containerConfig({ name }));
      await engine.containers.start(id);
    }
    const kinds = rig.machine.supervisor(shared.id).launches.map((launch) => launch.number(2));
    expect(kinds).toEqual([2, 0, 0]);
    const namespaces = rig.machine.supervisor(shared.id).launches.map((l) => l.number(33));
    expect(namespaces).toEqual([0, 1, 1]);
  });

  it.each([
    [{ image: 'sha256:none' }, 'NOT_FOUND', 'image "sha256:none" is not stored here'],
    [{ command: [''] }, 'INVALID_ARGUMENT', 'no command specified'],
    [{ logPath: '../../etc/cron.d/x' }, 'INVALID_ARGUMENT', 'log path'],
    [{ stopSignal: 'SIGNOPE' }, 'INVALID_ARGUMENT', 'Unknown signal'],
    [{ workingDirectory: 'relative' }, 'INVALID_ARGUMENT', 'working directory'],
    [{ env: [['A\0', 'b'] as const] }, 'INVALID_ARGUMENT', 'NUL'],
    [
      {
        mounts: [
          {
            type: 'bind' as const,
            hostPath: '/dev/null/nope',
            containerPath: '/x',
            readOnly: true,
          },
        ],
      },
      'INVALID_ARGUMENT',
      'cannot use "/dev/null/nope" of the host',
    ],
    [
      {
        mounts: [
          { type: 'bind' as const, hostPath: '/proc/no/x', containerPath: '/x', readOnly: true },
        ],
      },
      'INVALID_ARGUMENT',
      'cannot use "/proc/no/x" of the host',
    ],
    [
      {
        mounts: [
          { type: 'bind' as const, hostPath: '/', containerPath: '/proc/sys', readOnly: true },
        ],
      },
      'INVALID_ARGUMENT',
      'inside /proc',
    ],
  ])('create() with %j fails and leaves nothing', async (changes, code, text) => {
    const before = await rig.leftovers();
    await expect(
      engine.containers.create(sandboxId, rig.containerConfig(changes)),
    ).rejects.toMatchObject({ code, message: expect.stringContaining(text) });
    expect(engine.containers.list()).toEqual([]);
    await expect.poll(() => rig.leftovers()).toEqual(before.concat());
  });

  it('start() leaves no cgroup when the kernel refuses one', async () => {
    const { id } = await engine.containers.create(sandboxId, rig.containerConfig());
    rig.machine.failures.set('createCgroup', new NativeError({ code: 'ENOSPC', message: 'full' }));
    await expect(engine.containers.start(id)).rejects.toMatchObject({ code: 'ENOSPC' });
    expect([...rig.machine.cgroups.keys()].filter((path) => path.includes(id))).toEqual([]);
  });

  const settledLeftovers = async () => {
    await engine.close();
    return rig.leftovers();
  };
});
