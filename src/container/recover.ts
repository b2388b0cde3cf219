import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from '../config.js';
import type { Collection } from '../record-store.js';
import type { PodNetwork } from '../sandbox/pod-network.js';
import { currentBootId, isAlive } from '../sandbox/process-identity.js';
import { isSupervisorGone, type SandboxService } from '../sandbox/sandbox.js';
import { isId, type SandboxRecord } from '../sandbox/sandbox-record.js';
import type { Snapshotter } from '../snapshot/snapshotter.js';
import type { ContainerService } from './container.js';
import { startedStatus } from './started-status.js';
import type { ContainerRecord } from './state.js';

export interface RecoverOptions {
  readonly config: Pick<Config, 'run'>;
  readonly sandboxes: SandboxService;
  readonly containers: ContainerService;
  readonly containerRecords: Collection<ContainerRecord>;
  readonly snapshotter: Pick<Snapshotter, 'collect'>;
  readonly network: PodNetwork;
  /** Become the owner of sandboxes that have none (`cais serve`); otherwise they are only looked at (`cais ps`). */
  readonly adopt: boolean;
}

/** What recovery did, for the log. */
export interface RecoverReport {
  /** Ids of sandboxes that this engine owns now. */
  readonly adopted: readonly string[];
  /** Ids of sandboxes found dead, and why. */
  readonly ended: readonly { readonly id: string; readonly reason: string }[];
  /** Ids of sandboxes and containers that were half-made, or that nobody can want any more. */
  readonly removed: readonly string[];
  /** What could not be recovered now; the next engine tries again. */
  readonly failures: readonly { readonly id: string; readonly error: unknown }[];
}

/** What was found about one sandbox. */
type Finding =
  | { kind: 'alive' | 'adopted' }
  | { kind: 'ended'; reason: string }
  | { kind: 'removed' };

/**
 * Brings records and reality together when an engine opens. Several processes may do it at once, and beside running engines: what a living process
 * makes or owns is left alone. One sandbox that cannot be recovered does not keep the others from it.
 *
 * | record | reality | done |
 * |---|---|---|
 * | any | another boot | half-made ones removed, others NOTREADY / EXITED `Rebooted`, network given back |
 * | initializing, creating | its maker is dead | removed with all it had |
 * | ready | supervisor dead | processes killed, EXITED 137 `SupervisorDied`, network given back |
 * | ready or notready, `onOwnerExit: kill` | supervisor and owner dead | removed with all it had |
 * | ready | supervisor alive, ownerless | adopted if wanted; exits that happened meanwhile merged |
 * | ready | supervisor alive, owned | exits merged, nothing else |
 * | none | directory, snapshot, address | removed |
 */
export async function recover(options: RecoverOptions): Promise<RecoverReport> {
  const { sandboxes, containers } = options;
  const adopted: string[] = [];
  const ended: { id: string; reason: string }[] = [];
  const removed: string[] = [];
  const failures: { id: string; error: unknown }[] = [];
  const attempt = async (id: string, action: () => Promise<void>) => {
    try {
      await action();
    } catch (error) {
      failures.push({ id, error });
    }
  };
  for (const record of sandboxes.list()) {
    await attempt(record.id, async () => {
      const finding = await recoverSandbox(options, record);
      if (finding.kind === 'adopted') adopted.push(record.id);
      else if (finding.kind === 'ended') ended.push({ id: record.id, reason: finding.reason });
      else if (finding.kind === 'removed') removed.push(record.id);
    });
  }
  for (const record of containers.list()) {
    await attempt(record.id, async () => {
      if (!isAbandoned(record, sandboxes)) return;
      await containers.remove(record.id);
      removed.push(record.id);
    });
  }
  await attempt('leftovers', () => collectLeftovers(options));
  return { adopted, ended, removed, failures };
}

async function recoverSandbox(options: RecoverOptions, record: SandboxRecord): Promise<Finding> {
  const { sandboxes } = options;
  const { id, config } = record;
  const rebooted = record.bootId !== currentBootId();
  const ownerAlive = !rebooted && isAlive(record.owner);
  if (record.state === 'initializing') {
    if (ownerAlive) return { kind: 'alive' };
    await sandboxes.discard(id);
    return { kind: 'removed' };
  }
  const supervisorAlive =
    !rebooted && record.supervisor !== undefined && isAlive(record.supervisor);
  if (record.state === 'ready' && supervisorAlive) {
    try {
      return await meetSupervisor(options, record);
    } catch (error) {
      if (!isSupervisorGone(error)) {
        await markUnknown(options, id);
        throw error;
      }
      // It does not listen: dead, or dying after its owner.
    }
  }
  if (config.onOwnerExit === 'kill' && !ownerAlive && !rebooted) {
    await sandboxes.finish(id, 'OwnerExited');
    await sandboxes.remove(id);
    return { kind: 'removed' };
  }
  if (record.state === 'notready') return { kind: 'alive' };
  const reason = rebooted ? 'Rebooted' : record.stopping === true ? 'Stopped' : 'SupervisorDied';
  await sandboxes.finish(id, reason);
  return { kind: 'ended', reason };
}

/** Asks a living supervisor what happened, and adopts its sandbox when that is wanted and nobody has it. */
async function meetSupervisor(options: RecoverOptions, record: SandboxRecord): Promise<Finding> {
  const { sandboxes, containers, adopt } = options;
  const client = await sandboxes.client(record.id);
  let status = await client.status();
  const wanted = adopt && record.config.onOwnerExit === 'keep' && client.isCurrent;
  const adopted = wanted && !status.hasOwner;
  if (adopted) {
    await sandboxes.adopt(record.id);
    // Again: from now on nobody else writes, and events reach us.
    status = await client.status();
  }
  for (const container of containers.list({ sandboxId: record.id })) {
    if (container.state === 'creating' || container.state === 'exited') continue;
    const found = status.containers.find(({ id }) => id === container.id);
    if (found?.state !== 'created') {
      await containers.merge(container, found);
      continue;
    }
    // A dead engine asked for the start; how it goes is seen while this one works.
    void startedStatus(client, { id: container.id })
      .then((later) => containers.merge(container, later))
      // The supervisor is gone: whoever looks at the sandbox next finds that.
      .catch(() => undefined);
  }
  return { kind: adopted ? 'adopted' : 'alive' };
}

async function markUnknown({ containers }: RecoverOptions, sandboxId: string): Promise<void> {
  for (const container of containers.list({ sandboxId })) await containers.markUnknown(container);
}

/** Half-made by a process that is gone, or left without a sandbox. */
function isAbandoned(record: ContainerRecord, sandboxes: SandboxService): boolean {
  if (record.state === 'creating') {
    return record.bootId !== currentBootId() || !isAlive(record.creator);
  }
  return sandboxes.get(record.sandboxId) === undefined;
}

/** Removes directories, addresses and writable layers without a record; the record is always the first to come and the last to go. */
async function collectLeftovers(options: RecoverOptions): Promise<void> {
  const { config, sandboxes, containerRecords, snapshotter, network } = options;
  let names: string[] = [];
  try {
    names = await readdir(config.run);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  for (const name of names) {
    if (!isId(name) || sandboxes.get(name) !== undefined) continue;
    await rm(join(config.run, name), { recursive: true, force: true });
  }
  await snapshotter.collect((id) => containerRecords.has(id));
  // A stopped sandbox has given its address back; one that is being made may hold one already.
  await network.collect((id) => {
    const state = sandboxes.get(id)?.state;
    return state !== undefined && state !== 'notready';
  });
}
