import { mkdir, rm } from 'node:fs/promises';
import type { Config } from '../config.js';
import { makeDirectories } from '../directories.js';
import { InvalidArgumentError } from '../errors.js';
import type { NativeBinding } from '../native.js';
import type { Collection } from '../record-store.js';
import type { Rollback } from '../rollback.js';
import type { RuntimeHandlers } from '../runtime/handlers.js';
import type { OpenFilesLimit } from '../runtime/open-files.js';
import { SupervisorClient } from '../runtime/supervisor.js';
import { encodeSandboxSpec } from '../runtime/supervisor-protocol.js';
import type { Telemetry } from '../telemetry.js';
import { holdNetworkNamespace } from './namespace-hold.js';
import type { PodNetwork } from './pod-network.js';
import { isAlive } from './process-identity.js';
import { type SandboxRecord, sandboxPaths } from './sandbox-record.js';

/** What the making and unmaking of sandboxes works with. */
export interface SandboxParts {
  readonly config: Pick<Config, 'run' | 'cgroupParent'>;
  readonly native: Pick<
    NativeBinding,
    | 'Channel'
    | 'connectInNamespace'
    | 'createCgroup'
    | 'killCgroup'
    | 'readCgroupStats'
    | 'removeCgroup'
    | 'spawnSupervisor'
    | 'updateCgroup'
  >;
  readonly network: PodNetwork;
  readonly sandboxes: Collection<SandboxRecord>;
  readonly supervisorPath: string;
  readonly openFiles: OpenFilesLimit;
  readonly telemetry?: Telemetry;
  readonly handlers: Pick<RuntimeHandlers, 'resolve'>;
}

/** A sandbox under construction; each step fills something in. */
export interface SandboxBuild {
  record: SandboxRecord;
  sandboxCgroups: readonly string[];
  supervisorCgroups: readonly string[];
  client?: SupervisorClient;
}

/** Time for the start of a supervisor, and for killed processes to go. */
const SPAWN_TIMEOUT_MS = 20_000;
const KILL_TIMEOUT_MS = 10_000;

interface SandboxStep {
  readonly name: string;
  run(parts: SandboxParts, build: SandboxBuild, rollback: Rollback): Promise<void>;
}

/** A sandbox is made by these steps, in this order; each registers its undo. */
export const SANDBOX_STEPS: readonly SandboxStep[] = [
  { name: 'record', run: writeRecord },
  { name: 'directories', run: makeOwnDirectories },
  { name: 'cgroups', run: makeCgroups },
  { name: 'supervisor', run: startSupervisor },
  { name: 'connection', run: connect },
  { name: 'network', run: attachNetwork },
  { name: 'ready', run: markReady },
];

async function writeRecord(parts: SandboxParts, build: SandboxBuild, rollback: Rollback) {
  // First of all: a crash after any later step leaves a record from which the next engine undoes the work.
  await parts.sandboxes.put(build.record.id, build.record);
  rollback.add('record', () => parts.sandboxes.remove(build.record.id));
}

async function makeOwnDirectories(parts: SandboxParts, build: SandboxBuild, rollback: Rollback) {
  const { runDirectory } = sandboxPaths(parts.config, build.record.id);
  if (Buffer.byteLength(`${runDirectory}/control.sock`) >= 108) {
    throw new InvalidArgumentError(
      `The run directory "${parts.config.run}" is too long: socket paths end at 107 bytes`,
    );
  }
  await makeDirectories(parts.config.run, 0o700);
  rollback.add('run directory', () => rm(runDirectory, { recursive: true, force: true }));
  await mkdir(runDirectory, { mode: 0o700 });
  // Program output may hold secrets: the kubelet's directories are its own business, ours are private.
  const { logDirectory } = build.record.config;
  if (logDirectory !== undefined) await makeDirectories(logDirectory, 0o700);
}

async function makeCgroups(parts: SandboxParts, build: SandboxBuild, rollback: Rollback) {
  const { native } = parts;
  const { cgroup, supervisorCgroup, config } = build.record;
  build.sandboxCgroups = await native.createCgroup(cgroup, config.resources ?? {});
  rollback.add('sandbox cgroup', () => native.removeCgroup(cgroup));
  build.supervisorCgroups = await native.createCgroup(supervisorCgroup, {});
  rollback.add('supervisor cgroup', () => native.removeCgroup(supervisorCgroup));
}

async function startSupervisor(parts: SandboxParts, build: SandboxBuild, rollback: Rollback) {
  const { config, id } = build.record;
  const namespaces = [
    ...(config.hostNetwork ? [] : (['net', 'uts'] as const)),
    ...(config.hostIpc ? [] : (['ipc'] as const)),
  ];
  rollback.add('supervisor', () => killSandboxProcesses(parts, build.record));
  const supervisor = await parts.native.spawnSupervisor({
    executable: parts.supervisorPath,
    spec: encodeSandboxSpec({
      id,
      runDirectory: sandboxPaths(parts.config, id).runDirectory,
      namespaces,
      ...(config.hostNetwork ? {} : { hostname: config.hostname }),
      sysctls: config.sysctls ?? {},
      supervisorCgroups: build.supervisorCgroups,
      openFiles: parts.openFiles,
      onOwnerExit: config.onOwnerExit,
      sandboxCgroups: build.sandboxCgroups,
      ...(config.userNamespace === undefined
        ? {}
        : {
            userNamespace: {
              uids: [config.userNamespace.uids],
              gids: [config.userNamespace.gids],
            },
          }),
    }),
    timeoutMs: SPAWN_TIMEOUT_MS,
  });
  build.record = {
    ...build.record,
    supervisor,
    ...(config.hostNetwork ? {} : { netnsPath: `/proc/${supervisor.pid}/ns/net` }),
  };
}

async function connect(parts: SandboxParts, build: SandboxBuild, rollback: Rollback) {
  const { config, id } = build.record;
  const client = await SupervisorClient.connect({
    native: parts.native,
    socketPath: sandboxPaths(parts.config, id).controlSocket,
    ownership: 'take',
    onOwnerExit: config.onOwnerExit,
  });
  rollback.add('connection', () => client.close());
  if (client.welcome.sandboxId !== id) {
    throw new Error(`The supervisor at "${id}" calls itself "${client.welcome.sandboxId}"`);
  }
  build.client = client;
}

async function attachNetwork(parts: SandboxParts, build: SandboxBuild, rollback: Rollback) {
  const { id, netnsPath, config } = build.record;
  if (netnsPath === undefined) return;
  const { ip, additionalIps } = await parts.network.attach(id, { netnsPath, config });
  rollback.add('network', () => parts.network.detach(id));
  build.record = { ...build.record, ip, ...(additionalIps.length > 0 ? { additionalIps } : {}) };
}

async function markReady(parts: SandboxParts, build: SandboxBuild, _rollback: Rollback) {
  build.record = { ...build.record, state: 'ready' };
  await parts.sandboxes.put(build.record.id, build.record);
}

/**
 * Kills what runs for a sandbox, its supervisor included, whatever state it is in; nothing left is success.
 * By cgroup, and by identity for a supervisor that never reached its cgroup.
 */
export async function killSandboxProcesses(
  parts: Pick<SandboxParts, 'native'>,
  record: SandboxRecord,
): Promise<void> {
  const { supervisor } = record;
  if (supervisor !== undefined && isAlive(supervisor)) {
    try {
      process.kill(supervisor.pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
  await parts.native.killCgroup(record.cgroup, KILL_TIMEOUT_MS);
  await parts.native.killCgroup(record.supervisorCgroup, KILL_TIMEOUT_MS);
}

/**
 * Removes everything a sandbox holds but its record: processes, network, cgroups, run directory. Every part is idempotent and needs no disk
 * space, so this works after a crash between any two steps and on a full disk.
 */
export async function dismantle(parts: SandboxParts, record: SandboxRecord): Promise<void> {
  const netns = holdNetworkNamespace(record);
  try {
    await killSandboxProcesses(parts, record);
    if (!record.config.hostNetwork) await parts.network.detach(record.id, netns);
  } finally {
    netns.release();
  }
  await parts.native.removeCgroup(record.cgroup);
  await parts.native.removeCgroup(record.supervisorCgroup);
  await rm(sandboxPaths(parts.config, record.id).runDirectory, { recursive: true, force: true });
}
