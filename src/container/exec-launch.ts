import { randomBytes } from 'node:crypto';
import {
  FailedPreconditionError,
  InvalidArgumentError,
  NotFoundError,
  StartError,
} from '../errors.js';
import { lowerToLaunchSpec } from '../runtime/launch-spec.js';
import { usesSeccomp } from '../runtime/security.js';
import type { SupervisorClient } from '../runtime/supervisor.js';
import type { LaunchSpec } from '../runtime/supervisor-protocol.js';
import type { ContainerParts } from './container-parts.js';
import type { ContainerRecord } from './state.js';

export type ExecParts = Pick<ContainerParts, 'containers' | 'native' | 'sandboxes' | 'seccomp'>;

/** A command that is ready to be started in a running container. */
export interface PreparedExec {
  readonly client: SupervisorClient;
  readonly id: string;
  readonly launch: LaunchSpec;
  /** Names it in errors: `command "ls" in container "web"`. */
  readonly what: string;
}

/**
 * The record of a container that runs.
 * @throws NotFoundError, or FailedPreconditionError saying what it is instead; `purpose` completes "Cannot …".
 */
export function requireRunning(
  parts: Pick<ContainerParts, 'containers'>,
  id: string,
  purpose: string,
): ContainerRecord {
  const record = parts.containers.get(id);
  if (record === undefined) throw new NotFoundError(`Container "${id}" does not exist`);
  if (record.state === 'running') return record;
  throw new FailedPreconditionError(
    `Cannot ${purpose} container "${record.config.name}": it is ${record.state}`,
  );
}

/**
 * Describes a command with the user, environment, limits and filters of the container's own process.
 * @throws NotFoundError, FailedPreconditionError, InvalidArgumentError for a command that cannot be one.
 */
export async function prepareExec(
  parts: ExecParts,
  containerId: string,
  options: { readonly command: readonly string[]; readonly terminal: boolean },
): Promise<PreparedExec> {
  const { command, terminal } = options;
  const record = requireRunning(parts, containerId, 'run a command in');
  if (command[0] === undefined || command[0] === '') {
    throw new InvalidArgumentError('no command specified');
  }
  if (command.some((argument) => argument.includes('\0'))) {
    throw new InvalidArgumentError('Invalid command: an argument holds a NUL character');
  }
  const client = await parts.sandboxes.client(record.sandboxId);
  const id = `${containerId}-${randomBytes(6).toString('hex')}`;
  const launch = await execLaunch(parts, { record, id, command });
  const { environment } = launch;
  return {
    client,
    id,
    launch: {
      ...launch,
      terminal,
      environment:
        terminal && !environment.some((entry) => entry.startsWith('TERM='))
          ? [...environment, 'TERM=xterm']
          : environment,
    },
    what: `command ${JSON.stringify(command[0])} in container "${record.config.name}"`,
  };
}

async function execLaunch(
  parts: ExecParts,
  { record, id, command }: { record: ContainerRecord; id: string; command: readonly string[] },
): Promise<LaunchSpec> {
  const { spec, config } = record;
  if (spec === undefined) throw new FailedPreconditionError('The container was never finished');
  const seccomp = usesSeccomp(config.security)
    ? await parts.seccomp.filter(
        config.security.seccomp === 'unconfined' ? 'default' : config.security.seccomp,
        spec.process.capabilities.bounding,
      )
    : undefined;
  // The root is already as it should be: nothing of it is made again.
  const bare = { ...spec, mounts: [], linux: { ...spec.linux, devices: [] } };
  const {
    rootFd: _root,
    pidNamespace: _pid,
    ...launch
  } = lowerToLaunchSpec(bare, {
    id,
    cgroups: [],
    stdin: 'null',
    files: [],
    stopSignal: record.stopSignal,
    ...(seccomp === undefined ? {} : { seccomp }),
  });
  return {
    ...launch,
    kind: 'exec',
    arguments: command,
    execTarget: record.id,
    forgetOnExit: true,
    maskedPaths: [],
    readonlyPaths: [],
    rootReadonly: false,
  };
}

/** Starts it; `fds` may be closed afterwards. @throws StartError, FailedPreconditionError when the container has ended meanwhile. */
export async function startExec(
  { client, launch, what }: PreparedExec,
  options: { readonly changes: Partial<LaunchSpec>; readonly fds: readonly number[] },
): Promise<void> {
  try {
    await client.start({ ...launch, ...options.changes }, { what, fds: options.fds });
  } catch (error) {
    if (error instanceof StartError && error.step === 'clone' && error.errnoCode === 'ESRCH') {
      throw new FailedPreconditionError(`Cannot start ${what}: the container has ended`, {
        cause: error,
      });
    }
    throw error;
  }
}
