import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isAlive } from '../../src/sandbox/process-identity.js';
import { sandboxPaths } from '../../src/sandbox/sandbox-record.js';
import { ContainerRig, type RigEngine } from '../fixtures/container-rig.js';
import { OlderSupervisor } from '../fixtures/older-supervisor.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: containers need root');

const GONE = { pid: 2 ** 22 - 1, startTicks: 1 };

describe.skipIf(!isRoot)('a supervisor of an older version, met by a newer engine', () => {
  let rig: ContainerRig;
  let older: OlderSupervisor | undefined;
  let engine: RigEngine;
  let sandboxId: string;
  let id: string;

  /** The pod of an engine that has gone; its program has set `trap`. */
  const meet = async (trap: string) => {
    const first = rig.engine();
    ({ id: sandboxId } = await first.sandboxes.run(rig.sandboxConfig()));
    const command = ['/bin/sh', '-c', `trap ${trap}; echo ready; while :; do sleep 0.05; done`];
    ({ id } = await first.containers.create(sandboxId, rig.containerConfig({ command })));
    const { logPath = '' } = await first.containers.start(id);
    await expect.poll(() => readFileSync(logPath, 'utf8'), { timeout: 10_000 }).toContain('ready');
    await first.close();
    await rig.sandboxRecords.update(sandboxId, (record) => record && { ...record, owner: GONE });
    older = await OlderSupervisor.before(sandboxPaths(rig.config, sandboxId).runDirectory);
    engine = rig.engine();
    expect(await engine.recover()).toMatchObject({ adopted: [], ended: [], failures: [] });
  };

  beforeEach(async () => {
    rig = await ContainerRig.open();
  });
  afterEach(async () => {
    try {
      await rig.close();
    } finally {
      await older?.close();
      older = undefined;
    }
  });

  it('is watched: what runs is seen, an exit is recorded', async () => {
    await meet('"exit 5" USR1');
    const record = engine.containers.get(id);
    expect(record?.state).toBe('running');
    const waiting = engine.containers.wait(id);
    process.kill(record?.process?.pid ?? raise(), 'SIGUSR1');
    await expect(waiting).resolves.toMatchObject({ exitCode: 5, signal: 0 });
    expect(older?.refused).toEqual([]);
  });

  it('starts nothing more; the error says why', async () => {
    await meet('- TERM');
    const next = await engine.containers.create(sandboxId, rig.containerConfig({ name: 'next' }));
    await expect(engine.containers.start(next.id)).rejects.toMatchObject({
      message: expect.stringContaining('protocol version 0'),
    });
    expect(engine.containers.get(id)?.state).toBe('running');
    expect(older?.refused).toEqual([]);
  });

  it('lets its containers end by themselves when the sandbox is stopped, and is removed with all it had', async () => {
    await meet('"exit 4" TERM');
    const supervisor = engine.sandboxes.get(sandboxId)?.supervisor ?? GONE;
    await engine.sandboxes.stop(sandboxId, { graceMs: 10_000 });
    expect(engine.containers.get(id)?.exit).toMatchObject({ exitCode: 4, signal: 0 });
    expect(engine.sandboxes.get(sandboxId)).toMatchObject({ state: 'notready', reason: 'Stopped' });
    expect(isAlive(supervisor)).toBe(false);
    await engine.sandboxes.remove(sandboxId);
    expect(engine.containers.list()).toEqual([]);
    expect(older?.refused).toEqual([]);
  });

  it('is removed at once when it runs', async () => {
    await meet('"" TERM');
    const supervisor = engine.sandboxes.get(sandboxId)?.supervisor ?? GONE;
    await engine.sandboxes.remove(sandboxId);
    expect(isAlive(supervisor)).toBe(false);
    expect(engine.sandboxes.list()).toEqual([]);
    expect(older?.refused).toEqual([]);
  });
});

function raise(): never {
  throw new Error('The container has no process');
}
