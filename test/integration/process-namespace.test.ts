import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { execCommand } from '../../src/container/exec.js';
import type { ContainerConfig } from '../../src/runtime/container-config.js';
import { ContainerRig, type RigEngine } from '../fixtures/container-rig.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: containers need root');

describe.skipIf(!isRoot)('a container that joins the processes of another', () => {
  let rig: ContainerRig;
  let engine: RigEngine;
  beforeEach(async () => {
    rig = await ContainerRig.open();
    engine = rig.engine();
  });
  afterEach(() => rig.close());

  const start = async (sandboxId: string, changes: Partial<ContainerConfig> = {}) => {
    const { id } = await engine.containers.create(
      sandboxId,
      rig.containerConfig({ command: ['/bin/sleep', '1000'], ...changes }),
    );
    await engine.containers.start(id);
    return id;
  };
  const run = async (id: string, script: string) => {
    const { stdout } = await execCommand(engine.parts, id, { command: ['/bin/sh', '-c', script] });
    return stdout.toString().trim();
  };

  it('sees them, and ends without them', async () => {
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig());
    const target = await start(sandboxId, { command: ['/bin/sleep', '777'] });
    const debug = await start(sandboxId, {
      name: 'debug',
      processNamespaceOf: target,
      command: ['/bin/sh', '-c', 'sleep 999 & sleep 998'],
    });
    expect(await run(debug, 'tr "\\0" " " < /proc/1/cmdline || cat /proc/1/cmdline')).toContain(
      '777',
    );
    await engine.containers.stop(debug, { timeoutMs: 0 });
    expect(engine.containers.get(target)?.state).toBe('running');
    // The debugger's other processes went with it.
    expect(await run(target, 'ps')).not.toContain('99');
  });

  it('is refused when that is no running container of its sandbox', async () => {
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig());
    const { id: otherId } = await engine.sandboxes.run(rig.sandboxConfig({ uid: 'other' }));
    const foreign = await start(otherId);
    const created = await engine.containers.create(sandboxId, rig.containerConfig());
    const create = (processNamespaceOf: string) =>
      engine.containers.create(sandboxId, rig.containerConfig({ name: 'd', processNamespaceOf }));
    await expect(create('nobody')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(create(foreign)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(create(created.id)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
  });

  it('fails to start, by name, when the other has ended meanwhile', async () => {
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig());
    const target = await start(sandboxId);
    const { id } = await engine.containers.create(
      sandboxId,
      rig.containerConfig({ name: 'debug', processNamespaceOf: target }),
    );
    await engine.containers.stop(target, { timeoutMs: 0 });
    await expect(engine.containers.start(id)).rejects.toThrow(/pid namespace/);
  });

  it('merges or leaves out the groups of the image, by its policy, also for commands', async () => {
    rig.imageUser = 'app';
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig());
    const groups = async (policy: 'Merge' | 'Strict') =>
      run(
        await start(sandboxId, {
          security: {
            ...rig.containerConfig().security,
            supplementalGroups: [1234],
            supplementalGroupsPolicy: policy,
          },
        }),
        'id -G; grep ^Groups /proc/1/status',
      );
    expect(await groups('Merge')).toBe('1001 10 1234\nGroups:\t10 1001 1234');
    expect(await groups('Strict')).toBe('1001 1234\nGroups:\t1001 1234');
  });
});
