import { access } from 'node:fs/promises';
import type { Config } from '../config.js';
import { FailedPreconditionError } from '../errors.js';
import { removeBundle, writeBundle } from '../runtime/bundle.js';
import type { LaunchFile } from '../runtime/launch-spec.js';
import { deleteFromRuntime } from '../runtime/oci-runtime.js';
import { usesSeccomp } from '../runtime/security.js';
import type { SupervisorClient } from '../runtime/supervisor.js';
import type { LaunchSpec } from '../runtime/supervisor-protocol.js';
import { sandboxPaths } from '../sandbox/sandbox-record.js';
import type { ContainerParts } from './container-parts.js';
import type { ContainerRecord } from './state.js';

/** The runtime works twice, each time at most two minutes; the supervisor ends it then. */
export const OCI_START_TIMEOUT_MS = 250_000;

export interface OciLaunchOptions {
  readonly record: ContainerRecord;
  readonly client: SupervisorClient;
  /** How the supervisor itself would make the container. */
  readonly launch: LaunchSpec;
  readonly files: readonly LaunchFile[];
  /** Id of the process whose pid namespace is joined, where the container joins one. */
  readonly pidNamespaceOf: string;
  readonly imageMounts?: readonly { readonly subPath?: string }[];
}

/**
 * Makes the bundle of a container that an OCI runtime runs, and turns its launch into one by that runtime. The bundle stays until
 * {@link removeOciContainer}.
 */
export async function ociLaunch(
  parts: Pick<ContainerParts, 'config' | 'seccomp'>,
  options: OciLaunchOptions,
): Promise<LaunchSpec> {
  const { record, client, launch, files, imageMounts = [] } = options;
  const { spec, config, oci } = record;
  if (spec === undefined || oci === undefined) {
    throw new FailedPreconditionError('The container was never finished');
  }
  const paths = sandboxPaths(parts.config, record.sandboxId);
  const { seccomp } = config.security;
  const joinsPids = launch.pidNamespace === 'pod' || launch.pidNamespace === 'target';
  const bundle = await writeBundle({
    directory: paths.bundle(record.id),
    spec,
    files,
    imageMounts,
    ...(usesSeccomp(config.security)
      ? {
          seccomp: await parts.seccomp.profile(
            seccomp === 'unconfined' ? 'default' : seccomp,
            spec.process.capabilities.bounding,
          ),
        }
      : {}),
    ...(joinsPids ? { pidNamespacePath: await pidNamespace(client, options.pidNamespaceOf) } : {}),
  });
  return {
    ...launch,
    // All of it is in the bundle.
    mounts: [],
    devices: [],
    files: [],
    maskedPaths: [],
    readonlyPaths: [],
    oci: {
      program: oci.program,
      options: oci.options,
      root: oci.root ?? paths.ociRoot,
      bundle: bundle.directory,
      mounts: bundle.mounts,
    },
  };
}

/** Removes what an OCI runtime keeps of a container of which no process is left, and its bundle. Idempotent; nothing for other containers. */
export async function removeOciContainer(
  config: Pick<Config, 'run'>,
  record: ContainerRecord,
): Promise<void> {
  if (record.oci === undefined) return;
  const paths = sandboxPaths(config, record.sandboxId);
  const bundle = paths.bundle(record.id);
  // Without a bundle the runtime has never heard of it.
  if (!(await exists(bundle))) return;
  await deleteFromRuntime(record.oci, { id: record.id, root: record.oci.root ?? paths.ociRoot });
  await removeBundle(bundle);
}

async function pidNamespace(client: SupervisorClient, id: string): Promise<string> {
  const { containers } = await client.status();
  const process = containers.find((container) => container.id === id);
  if (process?.state !== 'running') {
    throw new FailedPreconditionError(`The process namespace of "${id}" is gone: it does not run`);
  }
  return `/proc/${process.pid}/ns/pid`;
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
