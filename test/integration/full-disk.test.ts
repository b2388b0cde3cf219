import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isAlive } from '../../src/sandbox/process-identity.js';
import { ContainerRig } from '../fixtures/container-rig.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: a small tmpfs needs root');

describe.skipIf(!isRoot)('real containers on a full disk', () => {
  let mountpoint: string;
  let rig: ContainerRig;

  beforeEach(async () => {
    mountpoint = mkdtempSync(join(tmpdir(), 'cais-full-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'cais-test', mountpoint]);
    rig = await ContainerRig.open(mountpoint);
  });
  afterEach(async () => {
    try {
      await rig.close();
    } finally {
      // Not lazily: it fails when anything still uses the disk.
      execFileSync('umount', [mountpoint]);
      rmSync(mountpoint, { recursive: true });
    }
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

  /** A pod whose container writes its log and its own file for ever. */
  const runPod = async (engine: ReturnType<ContainerRig['engine']>, name: string) => {
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig({ name }));
    const script = 'trap "exit 3" TERM; while :; do echo tick; echo x >> /file; sleep 0.02; done';
    const { id } = await engine.containers.create(
      sandboxId,
      rig.containerConfig({ command: ['/bin/sh', '-c', script] }),
    );
    const { logPath = '' } = await engine.containers.start(id);
    await expect.poll(() => readFileSync(logPath, 'utf8'), { timeout: 10_000 }).toContain('tick');
    return { sandboxId, id };
  };

  it('stop and remove as ever, with the exit code of the program', async () => {
    const engine = rig.engine();
    const { sandboxId, id } = await runPod(engine, 'web');
    fillDisk();
    await engine.containers.stop(id, { timeoutMs: 10_000 });
    expect(engine.containers.get(id)?.exit).toMatchObject({ exitCode: 3, signal: 0 });
    await engine.containers.remove(id);
    await engine.sandboxes.stop(sandboxId);
    expect(engine.sandboxes.get(sandboxId)).toMatchObject({ state: 'notready', reason: 'Stopped' });
    await engine.sandboxes.remove(sandboxId);
    expect(engine.sandboxes.list()).toEqual([]);
    expect(engine.containers.list()).toEqual([]);
  });

  it('are removed in one step by an engine that opens on it', async () => {
    const first = rig.engine();
    const pods = [await runPod(first, 'one'), await runPod(first, 'two')];
    const supervisors = pods.map(({ sandboxId }) => first.sandboxes.get(sandboxId)?.supervisor);
    fillDisk();
    await first.close();
    const second = rig.engine();
    expect((await second.recover()).failures).toEqual([]);
    for (const { sandboxId } of pods) await second.sandboxes.remove(sandboxId);
    expect(second.containers.list()).toEqual([]);
    for (const supervisor of supervisors) {
      expect(supervisor !== undefined && isAlive(supervisor)).toBe(false);
    }
  });

  it('are stopped when their supervisor has died on it', async () => {
    const engine = rig.engine();
    const { sandboxId, id } = await runPod(engine, 'web');
    fillDisk();
    const waiting = engine.containers.wait(id);
    process.kill(engine.sandboxes.get(sandboxId)?.supervisor?.pid ?? raise(), 'SIGKILL');
    await expect(waiting).resolves.toMatchObject({ exitCode: 137, reason: 'SupervisorDied' });
    await engine.sandboxes.remove(sandboxId);
    expect(engine.sandboxes.list()).toEqual([]);
  });
});

function raise(): never {
  throw new Error('The sandbox has no supervisor');
}
