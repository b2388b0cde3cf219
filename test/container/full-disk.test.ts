import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EngineRig } from '../fakes/engine-rig.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: a small tmpfs needs root');

describe.skipIf(!isRoot)('on a full disk', () => {
  let mountpoint: string;
  let rig: EngineRig;

  beforeEach(async () => {
    mountpoint = mkdtempSync(join(tmpdir(), 'cais-full-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'cais-test', mountpoint]);
    rig = await EngineRig.open(join(mountpoint, 'cais'));
  });
  afterEach(async () => {
    await rig.close();
    execFileSync('umount', ['-l', mountpoint]);
    rmSync(mountpoint, { recursive: true });
  });

  const fillDisk = () => {
    for (const chunkBytes of [2 ** 16, 4096, 512]) {
      const fd = openSync(join(mountpoint, 'filler'), 'a');
      try {
        for (;;) writeSync(fd, Buffer.alloc(chunkBytes));
      } catch (error) {
        expect(error).toMatchObject({ code: 'ENOSPC' });
      } finally {
        closeSync(fd);
      }
    }
    expect(() => writeFileSync(join(mountpoint, 'more'), 'x')).toThrow('ENOSPC');
  };

  it('a new sandbox is refused and leaves nothing; running ones are stopped and removed', async () => {
    const engine = rig.engine();
    const pods: { sandboxId: string; id: string }[] = [];
    for (let index = 0; index < 5; index++) {
      const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig());
      const { id } = await engine.containers.create(sandboxId, rig.containerConfig());
      await engine.containers.start(id);
      pods.push({ sandboxId, id });
    }
    // Until not even the records of one more sandbox fit.
    fillDisk();
    const refusal = await (async () => {
      for (let count = 0; count < 500; count++) {
        try {
          await engine.containers.create(pods[0]?.sandboxId ?? '', rig.containerConfig());
        } catch (error) {
          return error;
        }
      }
      return undefined;
    })();
    expect(refusal).toMatchObject({ code: 'ENOSPC' });

    for (const { sandboxId, id } of pods) {
      await engine.containers.stop(id, { timeoutMs: 1000 });
      expect(engine.containers.get(id)?.exit).toMatchObject({ exitCode: 143 });
      await engine.sandboxes.stop(sandboxId, { graceMs: 100 });
      expect(engine.sandboxes.get(sandboxId)?.state).toBe('notready');
      await engine.sandboxes.remove(sandboxId);
    }
    expect(engine.sandboxes.list()).toEqual([]);
    expect(engine.containers.list()).toEqual([]);
    await engine.close();
    expect(await rig.leftovers()).toEqual([]);
  });
});
