import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EngineRig, type FakeEngine } from '../fakes/engine-rig.js';

const GONE = { pid: 2 ** 22 - 1, startTicks: 1 };

describe('recover()', () => {
  let rig: EngineRig;
  let first: FakeEngine;

  beforeEach(async () => {
    rig = await EngineRig.open();
    first = rig.engine();
  });
  afterEach(() => rig.close());

  const runPod = async (onOwnerExit: 'keep' | 'kill' = 'keep') => {
    const { id: sandboxId } = await first.sandboxes.run(rig.sandboxConfig({ onOwnerExit }));
    const { id } = await first.containers.create(sandboxId, rig.containerConfig());
    await first.containers.start(id);
    return { sandboxId, id };
  };
  /** As kill -9 of the first engine: its connections close, nothing is written any more. */
  const firstEngineDies = async () => {
    await first.close();
    for (const { id } of first.sandboxes.list()) {
      await first.sandboxRecords.update(id, (record) => record && { ...record, owner: GONE });
    }
  };

  it('adopts a running sandbox and hears of later exits', async () => {
    const { sandboxId, id } = await runPod();
    await firstEngineDies();
    const second = rig.engine();
    expect(await second.recover()).toMatchObject({ adopted: [sandboxId], failures: [] });
    expect(rig.machine.supervisor(sandboxId).hasOwner).toBe(true);
    const waiting = second.containers.wait(id);
    rig.machine.supervisor(sandboxId).exit(id, 7);
    await expect(waiting).resolves.toMatchObject({ exitCode: 7 });
    await second.sandboxes.remove(sandboxId);
    await second.close();
    expect(await rig.leftovers()).toEqual([]);
  });

  it('merges exits that happened while nobody looked', async () => {
    const { sandboxId, id } = await runPod();
    await firstEngineDies();
    rig.machine.supervisor(sandboxId).exit(id, 5);
    const second = rig.engine();
    await second.recover();
    expect(second.containers.get(id)).toMatchObject({ state: 'exited', exit: { exitCode: 5 } });
  });

  it('only looks when it is not to adopt', async () => {
    const { sandboxId, id } = await runPod();
    await firstEngineDies();
    const second = rig.engine();
    expect(await second.recover({ adopt: false })).toMatchObject({ adopted: [], ended: [] });
    expect(rig.machine.supervisor(sandboxId).hasOwner).toBe(false);
    expect(second.containers.get(id)?.state).toBe('running');
  });

  it('leaves the sandbox of a living engine alone', async () => {
    const { sandboxId, id } = await runPod();
    const second = rig.engine();
    expect(await second.recover()).toMatchObject({ adopted: [], ended: [], removed: [] });
    await second.close();
    expect(rig.machine.supervisor(sandboxId)).toMatchObject({ isDead: false, hasOwner: true });
    expect(first.containers.get(id)?.state).toBe('running');
  });

  it('a container that was started but not recorded as running is found', async () => {
    const { id } = await runPod();
    await first.containerRecords.update(id, (record) => {
      if (record === undefined) return undefined;
      const { process: _p, startedAtNanos: _s, ...rest } = record;
      return { ...rest, state: 'created' };
    });
    await firstEngineDies();
    const second = rig.engine();
    await second.recover();
    expect(second.containers.get(id)?.state).toBe('running');
  });

  it('a supervisor that died: exit 137 with a reason, network and cgroups given back', async () => {
    const { sandboxId, id } = await runPod();
    await firstEngineDies();
    await rig.machine.kill(rig.machine.supervisor(sandboxId));
    const second = rig.engine();
    expect(await second.recover()).toMatchObject({
      ended: [{ id: sandboxId, reason: 'SupervisorDied' }],
    });
    expect(second.containers.get(id)?.exit).toMatchObject({
      exitCode: 137,
      reason: 'SupervisorDied',
      message: expect.stringContaining('supervisor'),
    });
    expect(rig.network.attached.size).toBe(0);
    await second.sandboxes.remove(sandboxId);
    await second.close();
    expect(await rig.leftovers()).toEqual([]);
  });

  it('a supervisor that died after a container: the real exit code counts', async () => {
    const { sandboxId, id } = await runPod();
    await firstEngineDies();
    rig.machine.supervisor(sandboxId).exit(id, 4);
    await rig.machine.kill(rig.machine.supervisor(sandboxId));
    const second = rig.engine();
    await second.recover();
    expect(second.containers.get(id)?.exit).toMatchObject({ exitCode: 4, reason: 'Error' });
  });

  it('another boot: NOTREADY and EXITED with a reason, network given back', async () => {
    const { sandboxId, id } = await runPod();
    await firstEngineDies();
    await rig.machine.kill(rig.machine.supervisor(sandboxId));
    await first.sandboxRecords.update(sandboxId, (record) => record && { ...record, bootId: 'x' });
    const second = rig.engine();
    expect(await second.recover()).toMatchObject({
      ended: [{ id: sandboxId, reason: 'Rebooted' }],
    });
    expect(second.sandboxes.get(sandboxId)).toMatchObject({
      state: 'notready',
      reason: 'Rebooted',
    });
    expect(second.sandboxes.get(sandboxId)?.ip).toBeUndefined();
    expect(second.containers.get(id)?.exit).toMatchObject({ exitCode: 137, reason: 'Rebooted' });
    expect(rig.network.attached.size).toBe(0);
  });

  it('onOwnerExit kill: nothing is left of what belonged to a dead engine', async () => {
    const { sandboxId } = await runPod('kill');
    await firstEngineDies();
    await expect.poll(() => rig.machine.supervisor(sandboxId).isDead).toBe(true);
    const second = rig.engine();
    expect(await second.recover()).toMatchObject({ removed: [sandboxId] });
    await second.close();
    expect(second.containers.list()).toEqual([]);
    expect(await rig.leftovers()).toEqual([]);
  });

  it('an older supervisor is watched and stopped, not adopted', async () => {
    const { sandboxId, id } = await runPod();
    await firstEngineDies();
    rig.machine.supervisor(sandboxId).version = 0;
    const second = rig.engine();
    expect(await second.recover()).toMatchObject({ adopted: [], ended: [], failures: [] });
    expect(second.containers.get(id)?.state).toBe('running');
    const more = await second.containers.create(sandboxId, rig.containerConfig({ name: 'b' }));
    await expect(second.containers.start(more.id)).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      message: expect.stringContaining('protocol version 0'),
    });
    await second.containers.stop(id, { timeoutMs: 1000 });
    expect(second.containers.get(id)?.exit?.exitCode).toBe(143);
    await second.sandboxes.remove(sandboxId);
    await second.close();
    expect(await rig.leftovers()).toEqual([]);
  });

  it('half-made sandboxes and containers of dead makers are undone, those of living ones are not', async () => {
    const { sandboxId, id } = await runPod();
    const dead = await first.containers.create(sandboxId, rig.containerConfig());
    await first.containerRecords.update(
      dead.id,
      (record) => record && { ...record, state: 'creating', creator: GONE },
    );
    const alive = await first.containers.create(sandboxId, rig.containerConfig());
    await first.containerRecords.update(
      alive.id,
      (record) => record && { ...record, state: 'creating' },
    );
    const record = await first.sandboxes.run(rig.sandboxConfig({ name: 'half' }));
    const { supervisor: _supervisor, ip: _ip, netnsPath: _path, ...half } = record;
    await first.sandboxRecords.put(record.id, { ...half, state: 'initializing', owner: GONE });

    const second = rig.engine();
    const report = await second.recover();
    expect(report).toMatchObject({ removed: [record.id, dead.id], failures: [] });
    expect(second.sandboxes.list().map((sandbox) => sandbox.id)).toEqual([sandboxId]);
    expect(
      second.containers
        .list()
        .map((container) => container.id)
        .sort(),
    ).toEqual([id, alive.id].sort());
    expect(rig.machine.supervisor(record.id).isDead).toBe(true);
  });

  it('directories and addresses without a record are removed', async () => {
    mkdirSync(join(rig.directory, 'run', '0123456789abcdef', 'exit'), { recursive: true });
    mkdirSync(join(rig.directory, 'root', 'active', 'fedcba9876543210', 'upper'), {
      recursive: true,
    });
    rig.network.attached.add('0123456789abcdef');
    const engine = rig.engine();
    expect(await engine.recover()).toMatchObject({ failures: [] });
    await engine.close();
    expect(await rig.leftovers()).toEqual([]);
  });
});
