import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NativeError } from '../../src/errors.js';
import { EngineRig, type FakeEngine } from '../fakes/engine-rig.js';

describe('SandboxService', () => {
  let rig: EngineRig;
  let engine: FakeEngine;

  beforeEach(async () => {
    rig = await EngineRig.open();
    engine = rig.engine();
  });
  afterEach(() => rig.close());

  it('run() makes a ready sandbox with an address and an owned supervisor', async () => {
    const record = await engine.sandboxes.run(rig.sandboxConfig());
    expect(record).toMatchObject({ state: 'ready', ip: '10.88.0.2' });
    expect(record.netnsPath).toBe(`/proc/${record.supervisor?.pid}/ns/net`);
    expect(engine.sandboxes.get(record.id)).toEqual(record);
    expect(rig.machine.supervisor(record.id).hasOwner).toBe(true);
    expect([...rig.machine.cgroups.keys()]).toEqual([
      `cais-fake/${record.id}`,
      `cais-fake.supervisors/${record.id}`,
    ]);
  });

  it.each(['createCgroup', 'spawnSupervisor', 'Channel'])(
    'run() leaves nothing when %s fails',
    async (name) => {
      const error = new NativeError({ code: 'ENOSPC', message: 'No space left on device' });
      rig.machine.failures.set(name, error);
      await expect(engine.sandboxes.run(rig.sandboxConfig())).rejects.toMatchObject({
        message: expect.stringContaining('Cannot make sandbox "web" (step'),
      });
      expect(await rig.leftovers()).toEqual([]);
      expect(engine.sandboxes.list()).toEqual([]);
    },
  );

  it('run() leaves nothing when the network refuses', async () => {
    rig.network.failure = new NativeError({ code: 'EADDRNOTAVAIL', message: 'no address left' });
    await expect(engine.sandboxes.run(rig.sandboxConfig())).rejects.toMatchObject({
      code: 'EADDRNOTAVAIL',
      message: 'Cannot make sandbox "web" (step network): no address left',
    });
    expect(await rig.leftovers()).toEqual([]);
  });

  it('run() leaves nothing when it is aborted', async () => {
    const controller = new AbortController();
    const running = engine.sandboxes.run(rig.sandboxConfig(), { signal: controller.signal });
    controller.abort();
    await expect(running).rejects.toMatchObject({ name: 'AbortError' });
    expect(await rig.leftovers()).toEqual([]);
  });

  it('stop() ends the supervisor, gives the network back and may be called again', async () => {
    const { id } = await engine.sandboxes.run(rig.sandboxConfig());
    await engine.sandboxes.stop(id, { graceMs: 100 });
    await engine.sandboxes.stop(id, { graceMs: 100 });
    expect(engine.sandboxes.get(id)).toMatchObject({ state: 'notready', reason: 'Stopped' });
    expect(rig.machine.supervisor(id).isDead).toBe(true);
    expect(rig.network.attached.size).toBe(0);
  });

  it('stop() kills when the supervisor is already dead', async () => {
    const { id } = await engine.sandboxes.run(rig.sandboxConfig());
    const other = rig.engine();
    await rig.machine.kill(rig.machine.supervisor(id));
    await other.sandboxes.stop(id, { graceMs: 100 });
    expect(other.sandboxes.get(id)?.state).toBe('notready');
  });

  it('stop() ends a supervisor of an older version with what never changes', async () => {
    const { id } = await engine.sandboxes.run(rig.sandboxConfig());
    const supervisor = rig.machine.supervisor(id);
    supervisor.version = 0;
    const newer = rig.engine();
    await newer.sandboxes.stop(id, { graceMs: 100 });
    expect(newer.sandboxes.get(id)).toMatchObject({ state: 'notready' });
    expect(supervisor.isDead).toBe(true);
  });

  it('remove() leaves nothing, and succeeds when there is nothing', async () => {
    const { id } = await engine.sandboxes.run(rig.sandboxConfig());
    await engine.sandboxes.remove(id);
    await engine.sandboxes.remove(id);
    await engine.sandboxes.remove('0123456789abcdef');
    expect(await rig.leftovers()).toEqual([]);
    expect(engine.sandboxes.list()).toEqual([]);
  });

  it('a supervisor that dies is recorded without anybody asking', async () => {
    const { id } = await engine.sandboxes.run(rig.sandboxConfig());
    await rig.machine.kill(rig.machine.supervisor(id));
    await expect
      .poll(() => engine.sandboxes.get(id))
      .toMatchObject({
        state: 'notready',
        reason: 'SupervisorDied',
      });
    expect(rig.network.attached.size).toBe(0);
  });

  it('two engines: the second may look and stop, but not adopt', async () => {
    const { id } = await engine.sandboxes.run(rig.sandboxConfig());
    const second = rig.engine();
    await expect(second.sandboxes.adopt(id)).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
    });
    await second.sandboxes.stop(id, { graceMs: 100 });
    await expect.poll(() => engine.sandboxes.get(id)?.reason).toBe('Stopped');
  });

  it('closing the engine kills what asked for it, and keeps the rest', async () => {
    const kept = await engine.sandboxes.run(rig.sandboxConfig());
    const killed = await engine.sandboxes.run(rig.sandboxConfig({ onOwnerExit: 'kill' }));
    await engine.close();
    await expect.poll(() => rig.machine.supervisor(killed.id).isDead).toBe(true);
    expect(rig.machine.supervisor(kept.id)).toMatchObject({ isDead: false, hasOwner: false });
  });

  it.each([
    [{ sysctls: { 'kernel.core_pattern': '|/bin/sh' } }, 'kernel.core_pattern'],
    [{ sysctls: { 'kernel.shmmax': '1+kernel.core_pattern=x' } }, 'characters'],
    [{ sysctls: { 'net/ipv4/ip_forward': '1' } }, 'dotted name'],
    [{ sysctls: { 'net.ipv4.ip_forward': '1\n' } }, 'characters'],
    [{ hostNetwork: true, sysctls: { 'net.ipv4.ip_forward': '1' } }, "host's network"],
    [{ hostIpc: true, sysctls: { 'kernel.shmmax': '1' } }, "host's IPC"],
    [{ hostname: 'a b' }, 'host name'],
    [{ hostname: 'a'.repeat(65) }, 'host name'],
    [{ cgroupParent: '../escape' }, 'cgroup parent'],
    [{ logDirectory: 'relative' }, 'log directory'],
    [{ dns: { servers: ['1.1.1.1\noptions x'], searches: [] } }, 'DNS'],
    [{ hostAliases: [{ ip: '1.1.1.1', hostnames: ['a\n2.2.2.2 b'] }] }, 'alias'],
    [{ resources: { memoryLimitBytes: 1 } }, 'memoryLimitBytes'],
  ])('run() refuses %j', async (changes, text) => {
    await expect(engine.sandboxes.run(rig.sandboxConfig(changes))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(text),
    });
    expect(await rig.leftovers()).toEqual([]);
  });
});
