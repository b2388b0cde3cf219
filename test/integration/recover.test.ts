import { existsSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isAlive } from '../../src/sandbox/process-identity.js';
import { ContainerRig, type RigEngine } from '../fixtures/container-rig.js';
import { usableHandlers } from '../fixtures/usable-handlers.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: containers need root');

const GONE = { pid: 2 ** 22 - 1, startTicks: 1 };

const handlers = isRoot ? await usableHandlers() : ['native'];

describe.skipIf(!isRoot).each(handlers)(
  'recovery of real sandboxes of the handler %s',
  (handler) => {
    let rig: ContainerRig;
    let first: RigEngine;

    beforeEach(async () => {
      rig = await ContainerRig.open();
      rig.handler = handler;
      first = rig.engine();
    });
    afterEach(() => rig.close());

    const runPod = async (script: string, onOwnerExit: 'keep' | 'kill' = 'keep') => {
      const { id: sandboxId } = await first.sandboxes.run(rig.sandboxConfig({ onOwnerExit }));
      const { id } = await first.containers.create(
        sandboxId,
        rig.containerConfig({ command: ['/bin/sh', '-c', script] }),
      );
      const { logPath } = await first.containers.start(id);
      return { sandboxId, id, logPath: logPath ?? '' };
    };
    /** What the end of the process does: every connection closes, nothing more is written. */
    const firstEngineDies = async () => {
      await first.close();
      for (const { id } of rig.sandboxRecords.list()) {
        await rig.sandboxRecords.update(id, (record) => record && { ...record, owner: GONE });
      }
    };
    const supervisorOf = (sandboxId: string) => {
      const supervisor = rig.sandboxRecords.get(sandboxId)?.supervisor;
      if (supervisor === undefined) throw new Error('No supervisor');
      return supervisor;
    };

    it('keep: the pod runs on without its owner, logs are written, the next engine stops it', async () => {
      const { sandboxId, id, logPath } = await runPod('while :; do echo tick; sleep 0.05; done');
      await firstEngineDies();
      const lines = () => readFileSync(logPath, 'utf8').split('\n').length;
      const before = lines();
      await expect.poll(lines, { timeout: 5000 }).toBeGreaterThan(before + 2);
      const second = rig.engine();
      expect(await second.recover()).toMatchObject({ adopted: [sandboxId], failures: [] });
      await second.containers.stop(id, { timeoutMs: 0 });
      expect(second.containers.get(id)?.exit).toMatchObject({ exitCode: 137, signal: 9 });
      await second.sandboxes.remove(sandboxId);
    });

    it('keep: an exit that nobody saw is found by the next engine', async () => {
      const { sandboxId, id } = await runPod('sleep 0.3; exit 6');
      await firstEngineDies();
      const supervisor = supervisorOf(sandboxId);
      const second = rig.engine();
      await expect
        .poll(
          async () => {
            await second.recover({ adopt: false });
            return second.containers.get(id)?.exit?.exitCode;
          },
          { timeout: 5000 },
        )
        .toBe(6);
      expect(isAlive(supervisor)).toBe(true);
    });

    it('kill: nothing of the pod survives its owner', async () => {
      const { sandboxId, id } = await runPod('sleep 1000', 'kill');
      const supervisor = supervisorOf(sandboxId);
      const process = rig.containerRecords.get(id)?.process ?? GONE;
      await firstEngineDies();
      await expect.poll(() => isAlive(supervisor), { timeout: 5000 }).toBe(false);
      expect(isAlive(process)).toBe(false);
      const second = rig.engine();
      expect(await second.recover()).toMatchObject({ removed: [sandboxId], failures: [] });
      expect(second.containers.list()).toEqual([]);
    });

    it('a supervisor that is killed takes its containers along; the engine says why they ended', async () => {
      const { sandboxId, id } = await runPod('sleep 1000');
      const containerProcess = rig.containerRecords.get(id)?.process ?? GONE;
      const waiting = first.containers.wait(id);
      process.kill(supervisorOf(sandboxId).pid, 'SIGKILL');
      await expect(waiting).resolves.toMatchObject({ exitCode: 137, reason: 'SupervisorDied' });
      expect(isAlive(containerProcess)).toBe(false);
      expect(first.sandboxes.get(sandboxId)).toMatchObject({
        state: 'notready',
        reason: 'SupervisorDied',
      });
    });

    it("a dead supervisor's processes in the host's pid namespace are found by their cgroup", async () => {
      const { id: sandboxId } = await first.sandboxes.run(rig.sandboxConfig({ hostPid: true }));
      const command = ['/bin/sh', '-c', 'sleep 1000 & echo $!; sleep 1000'];
      const { id } = await first.containers.create(sandboxId, rig.containerConfig({ command }));
      const { logPath = '' } = await first.containers.start(id);
      const orphan = () => Number(/ F (\d+)\n/.exec(readFileSync(logPath, 'utf8'))?.[1]);
      await expect.poll(orphan, { timeout: 10_000 }).toBeGreaterThan(1);
      const waiting = first.containers.wait(id);
      process.kill(supervisorOf(sandboxId).pid, 'SIGKILL');
      await expect(waiting).resolves.toMatchObject({ reason: 'SupervisorDied' });
      // The machine's first process reaps it a moment later.
      await expect.poll(() => existsSync(`/proc/${orphan()}`), { timeout: 10_000 }).toBe(false);
    });

    it('another boot id: NOTREADY and EXITED, whatever runs under those pids now', async () => {
      const { sandboxId, id } = await runPod('sleep 1000');
      await first.sandboxes.stop(sandboxId, { graceMs: 0 });
      const { exit: _exit, ...running } = rig.containerRecords.get(id) ?? raise();
      await rig.containerRecords.put(id, { ...running, state: 'running' });
      await rig.sandboxRecords.update(sandboxId, (record) => {
        if (record === undefined) return undefined;
        const { reason: _reason, ...rest } = record;
        // This very process stands for one that got the old supervisor's pid.
        return {
          ...rest,
          state: 'ready',
          bootId: 'other',
          supervisor: { ...GONE, pid: process.pid },
        };
      });
      const second = rig.engine();
      expect(await second.recover()).toMatchObject({ ended: [{ reason: 'Rebooted' }] });
      expect(second.containers.get(id)?.state).toBe('exited');
    });

    it('a second engine beside a running one looks and stops, and both agree', async () => {
      const { sandboxId, id } = await runPod('sleep 1000');
      const second = rig.engine();
      expect(await second.recover({ adopt: true })).toMatchObject({ adopted: [], ended: [] });
      const waiting = first.containers.wait(id);
      await second.sandboxes.stop(sandboxId, { graceMs: 0 });
      await expect(waiting).resolves.toMatchObject({ exitCode: 137 });
      await expect.poll(() => first.sandboxes.get(sandboxId)?.reason).toBe('Stopped');
    });
  },
);

function raise(): never {
  throw new Error('No record');
}
