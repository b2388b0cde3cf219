import { dirname, join } from 'node:path';
import { makeDirectories } from '../directories.js';
import { FailedPreconditionError, InvalidArgumentError, NotFoundError } from '../errors.js';
import { Rollback } from '../rollback.js';
import { appArmorProfile } from '../runtime/apparmor.js';
import type { ContainerConfig } from '../runtime/container-config.js';
import { checkPath } from '../runtime/mounts.js';
import { buildProcessSpec } from '../runtime/process-spec.js';
import { parseSignal } from '../runtime/signal.js';
import { resolveUser } from '../runtime/user.js';
import { currentBootId, ownIdentity } from '../sandbox/process-identity.js';
import { newId, nowNanos, type SandboxRecord } from '../sandbox/sandbox-record.js';
import { closeQuietly } from '../snapshot/layer-files.js';
import type { ContainerParts } from './container-parts.js';
import { cdiEdits, containerDevices } from './devices.js';
import { checkSubPaths, resolveImageMounts } from './image-mounts.js';
import { withRootsOf } from './mapped-roots.js';
import { prepareMountSources } from './mount-sources.js';
import { namedError } from './named-error.js';
import { type ContainerRecord, transition } from './state.js';

/** More than any honest image has; each is a path in the start frame. */
const MAX_IMAGE_VOLUMES = 256;

/** A container that was made, and its root: a detached mount that the caller owns. */
export interface CreatedContainer {
  readonly record: ContainerRecord;
  readonly rootFd: number;
}

/**
 * Makes a container in a ready sandbox: record, writable layer, and the description of its process, for which the user is looked up in the image.
 * A failing step leaves nothing behind.
 * @throws RuntimeError with the code of what failed: `NOT_FOUND` image, `INVALID_ARGUMENT` user, mount, command.
 */
export async function createContainer(
  parts: ContainerParts,
  sandbox: SandboxRecord,
  config: ContainerConfig,
): Promise<CreatedContainer> {
  const rollback = new Rollback();
  try {
    const created = await runSteps(parts, { sandbox, config, rollback });
    rollback.commit();
    return created;
  } catch (error) {
    throw await rollback.run(namedError(`Cannot create container "${config.name}"`, error));
  }
}

async function runSteps(
  parts: ContainerParts,
  {
    sandbox,
    config,
    rollback,
  }: { sandbox: SandboxRecord; config: ContainerConfig; rollback: Rollback },
): Promise<CreatedContainer> {
  const image = parts.images.resolve(config.image);
  if (image === undefined) throw new NotFoundError(`image "${config.image}" is not stored here`);
  const { supervisor } = sandbox;
  if (sandbox.state !== 'ready' || supervisor === undefined) {
    throw new FailedPreconditionError(`sandbox "${sandbox.id}" is ${sandbox.state}`);
  }
  const stopSignal = parseSignal(config.stopSignal || image.config.stopSignal || 'SIGTERM');
  const mountedImages = resolveImageMounts(parts, config.mounts);
  const logPath = config.logPath === undefined ? undefined : checkedLogPath(config.logPath);
  const { logDirectory } = sandbox.config;
  const id = newId();
  const record: ContainerRecord = {
    id,
    sandboxId: sandbox.id,
    config,
    imageId: image.id,
    state: 'creating',
    creator: ownIdentity(),
    bootId: currentBootId(),
    chain: image.layers.map((layer) => layer.diffId),
    stopSignal,
    ...(mountedImages.length === 0 ? {} : { mountedImages }),
    ...(sandbox.handler?.oci === undefined ? {} : { oci: sandbox.handler.oci }),
    imageVolumes: checkedVolumes(image.config.volumes ?? []),
    cgroup: `${sandbox.cgroup}/${id}`,
    ...(logPath === undefined || logDirectory === undefined
      ? {}
      : { logPath: join(logDirectory, logPath) }),
    createdAtNanos: nowNanos(),
  };
  // Before its first directory: a crash from here on leaves a record from which the work is undone.
  await parts.containers.put(id, record);
  rollback.add('record', () => parts.containers.remove(id));

  rollback.add('writable layer', () => parts.snapshotter.remove(id));
  const rootFd = await withRootsOf(parts, sandbox, (prepare) => prepare(id, record.chain));
  rollback.add('root mount', () => closeQuietly(rootFd));

  const user = await resolveUser(parts.native, rootFd, {
    security: config.security,
    imageUser: image.config.user,
  });
  const devices = await containerDevices(config, sandbox.config);
  const edits = await cdiEdits(parts, config);
  const profile = await appArmorProfile(config.security);
  const spec = buildProcessSpec({
    container: config,
    sandbox: sandbox.config,
    image: image.config,
    user,
    cgroup: record.cgroup,
    namespacesPid: supervisor.pid,
    ...pidNamespace(parts, sandbox, config),
    openFiles: parts.openFiles,
    hostCapabilities: parts.hostCapabilities,
    devices,
    ...(profile === undefined ? {} : { appArmorProfile: profile }),
    ...(edits === undefined ? {} : { edits }),
  });
  await prepareMountSources(config.mounts, rollback);
  await checkSubPaths(parts, record);
  if (record.logPath !== undefined) {
    await makeDirectories(dirname(record.logPath), 0o700);
  }
  const created = transition(record, 'created', { spec });
  await parts.containers.put(id, created);
  if (parts.sandboxes.get(sandbox.id)?.state !== 'ready') {
    throw new FailedPreconditionError(`sandbox "${sandbox.id}" was stopped meanwhile`);
  }
  return { record: created, rootFd };
}

/** Whether a container sees the processes of its pod. */
export function sharesProcessNamespace(sandbox: SandboxRecord, config: ContainerConfig): boolean {
  return (
    sandbox.config.shareProcessNamespace &&
    config.ownProcessNamespace !== true &&
    config.processNamespaceOf === undefined
  );
}

/**
 * Pid of a process whose pid namespace the container joins, if it does: its target's, or the pod's.
 * @throws InvalidArgumentError when the target is no container of the sandbox, FailedPreconditionError when it does not run.
 */
function pidNamespace(
  parts: Pick<ContainerParts, 'containers'>,
  sandbox: SandboxRecord,
  config: ContainerConfig,
): { pidNamespacePid?: number } {
  const { id, supervisor } = sandbox;
  const { processNamespaceOf } = config;
  if (processNamespaceOf === undefined) {
    return sharesProcessNamespace(sandbox, config) && supervisor !== undefined
      ? { pidNamespacePid: supervisor.pid }
      : {};
  }
  const target = parts.containers.get(processNamespaceOf);
  if (target?.sandboxId !== id) {
    throw new InvalidArgumentError(
      `target container ${JSON.stringify(processNamespaceOf.slice(0, 100))} is not in sandbox "${id}"`,
    );
  }
  if (target.state !== 'running' || target.process === undefined) {
    throw new FailedPreconditionError(
      `target container "${target.config.name}" is ${target.state}: its process namespace ends with it`,
    );
  }
  return { pidNamespacePid: target.process.pid };
}

/** Paths that a volume of the image can be at; the kernel's file systems are no such place. */
function checkedVolumes(paths: readonly string[]): string[] {
  if (paths.length > MAX_IMAGE_VOLUMES) {
    throw new InvalidArgumentError(
      `the image declares ${paths.length} volumes: at most ${MAX_IMAGE_VOLUMES} are supported`,
    );
  }
  for (const path of paths) checkPath(path, 'volume of the image');
  return paths.filter((path) => !/^\/+(proc|sys)(\/|$)/.test(path));
}

/** Stops a log path that leads out of the log directory (CVE-2025-0750). */
function checkedLogPath(path: string): string {
  const parts = path.split('/');
  if (
    parts.length > 8 ||
    !parts.every((part) => /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$/.test(part))
  ) {
    throw new InvalidArgumentError(
      `invalid log path ${JSON.stringify(path.slice(0, 200))}: expected a relative path such as "web/0.log"`,
    );
  }
  return path;
}
