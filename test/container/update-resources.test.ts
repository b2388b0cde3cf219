import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NativeError } from '../../src/errors.js';
import { mergeResources } from '../../src/runtime/resource-update.js';
import { EngineRig, type FakeEngine } from '../fakes/engine-rig.js';

const MEBIBYTE = 2 ** 20;

describe('mergeResources()', () => {
  it('keeps what is not mentioned, entry by entry', () => {
    expect(
      mergeResources(
        {
          cpuShares: 512,
          pidsLimit: 10,
          unified: { 'memory.high': '1', 'memory.low': '2' },
          hugepageLimits: [{ pageSize: '2MB', limitBytes: 0 }],
        },
        {
          cpuShares: 1024,
          unified: { 'memory.low': '3' },
          hugepageLimits: [
            { pageSize: '2MB', limitBytes: 4 },
            { pageSize: '1GB', limitBytes: 5 },
          ],
        },
      ),
    ).toEqual({
      cpuShares: 1024,
      pidsLimit: 10,
      unified: { 'memory.high': '1', 'memory.low': '3' },
      hugepageLimits: [
        { pageSize: '2MB', limitBytes: 4 },
        { pageSize: '1GB', limitBytes: 5 },
      ],
    });
  });

  it.each([
    // No swap before, none afterwards, up and down.
    [64, 64, { memoryLimitBytes: 128 }, { memoryLimitBytes: 128, memorySwapLimitBytes: 128 }],
    [64, 64, { memoryLimitBytes: 32 }, { memoryLimitBytes: 32, memorySwapLimitBytes: 32 }],
    // The same swap as before.
    [64, 96, { memoryLimitBytes: 128 }, { memoryLimitBytes: 128, memorySwapLimitBytes: 160 }],
    [64, 96, { memoryLimitBytes: -1 }, { memoryLimitBytes: -1, memorySwapLimitBytes: -1 }],
    // Who says both is taken at his word.
    [64, 96, { memoryLimitBytes: 64, memorySwapLimitBytes: 64 }, { memorySwapLimitBytes: 64 }],
    [64, -1, { memoryLimitBytes: 128 }, { memoryLimitBytes: 128, memorySwapLimitBytes: -1 }],
  ])(
    'memory %d and swap %d, then %j',
    (memoryLimitBytes, memorySwapLimitBytes, changes, expected) => {
      expect(mergeResources({ memoryLimitBytes, memorySwapLimitBytes }, changes)).toMatchObject(
        expected,
      );
    },
  );
});

describe('updateResources()', () => {
  let rig: EngineRig;
  let engine: FakeEngine;
  let sandboxId: string;

  beforeEach(async () => {
    rig = await EngineRig.open();
    engine = rig.engine();
    sandboxId = (await engine.sandboxes.run(rig.sandboxConfig())).id;
  });
  afterEach(() => rig.close());

  it('of a created container: the cgroup is made with the new limits', async () => {
    const { id, cgroup } = await engine.containers.create(
      sandboxId,
      rig.containerConfig({ resources: { cpuShares: 512 } }),
    );
    const updated = await engine.containers.updateResources(id, {
      memoryLimitBytes: 64 * MEBIBYTE,
      oomScoreAdj: 500,
    });
    const resources = { cpuShares: 512, memoryLimitBytes: 64 * MEBIBYTE, oomScoreAdj: 500 };
    expect(updated.config.resources).toEqual(resources);
    expect(rig.machine.cgroups.has(cgroup)).toBe(false);
    await engine.containers.start(id);
    const { oomScoreAdj, ...limits } = resources;
    expect(rig.machine.cgroups.get(cgroup)).toMatchObject(limits);
    expect(rig.machine.supervisor(sandboxId).launches[0]?.number(23)).toBe(oomScoreAdj);
    expect(rig.machine.cgroups.get(cgroup)?.devices?.length).toBeGreaterThan(5);
  });

  it('of a running one: cgroup, score and record; devices are left alone', async () => {
    const { id, cgroup } = await engine.containers.create(sandboxId, rig.containerConfig());
    await engine.containers.start(id);
    const { devices } = rig.machine.cgroups.get(cgroup) ?? {};
    await engine.containers.updateResources(id, { cpuQuotaMicros: 20_000, oomScoreAdj: 700 });
    expect(rig.machine.cgroups.get(cgroup)).toEqual({ cpuQuotaMicros: 20_000, devices });
    expect(rig.machine.oomScores.get(cgroup)).toBe(700);
    const record = engine.containers.get(id);
    expect(record?.config.resources).toEqual({ cpuQuotaMicros: 20_000, oomScoreAdj: 700 });
    expect(record?.spec?.linux.resources.cpu).toEqual({ quota: 20_000 });
  });

  it('what the kernel refuses is not recorded, and what has ended is refused', async () => {
    const { id } = await engine.containers.create(sandboxId, rig.containerConfig());
    await engine.containers.start(id);
    rig.machine.failures.set('updateCgroup', new NativeError({ code: 'EBUSY', message: 'busy' }));
    await expect(
      engine.containers.updateResources(id, { memoryLimitBytes: MEBIBYTE }),
    ).rejects.toMatchObject({ code: 'EBUSY' });
    expect(engine.containers.get(id)?.config.resources).toEqual({});
    await expect(engine.containers.updateResources(id, { cpuShares: 1 })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    await engine.containers.stop(id, { timeoutMs: 0 });
    await expect(engine.containers.updateResources(id, { cpuShares: 2 })).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
    });
    await expect(engine.containers.updateResources('none', {})).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });

  it('of a sandbox: its cgroup and record', async () => {
    await engine.sandboxes.updateResources(sandboxId, { cpuShares: 256 });
    await engine.sandboxes.updateResources(sandboxId, { memoryLimitBytes: 64 * MEBIBYTE });
    const record = engine.sandboxes.get(sandboxId);
    const resources = { cpuShares: 256, memoryLimitBytes: 64 * MEBIBYTE };
    expect(record?.config.resources).toEqual(resources);
    expect(rig.machine.cgroups.get(record?.cgroup ?? '')).toMatchObject(resources);
    await engine.sandboxes.stop(sandboxId, { graceMs: 0 });
    await expect(
      engine.sandboxes.updateResources(sandboxId, { cpuShares: 2 }),
    ).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
  });
});
