import type { Digest } from '../digest.js';
import { FailedPreconditionError } from '../errors.js';
import type { ContainerConfig } from '../runtime/container-config.js';
import type { OciRuntime } from '../runtime/oci-runtime.js';
import type { RuntimeSpec } from '../runtime/oci-spec.js';
import type { ProcessIdentity } from '../sandbox/process-identity.js';

/**
 * State of a container.
 *
 *     creating ──► created ──► running ──► exited ──► (removed)
 *        │            └───────────────────────▲
 *        └──► (undone)       unknown ◄──► running; unknown ──► exited
 *
 * `unknown`: its supervisor cannot be asked now.
 */
export type ContainerState = 'creating' | 'created' | 'running' | 'exited' | 'unknown';

const TRANSITIONS: Readonly<Record<ContainerState, readonly ContainerState[]>> = {
  creating: ['created', 'exited'],
  created: ['running', 'exited'],
  running: ['exited', 'unknown'],
  unknown: ['running', 'exited'],
  exited: [],
};

/** Why a container ended. Words of the CRI where it has one. */
export type ExitReason =
  | 'Completed'
  | 'Error'
  | 'OOMKilled'
  | 'StartError'
  | 'SandboxStopped'
  | 'SupervisorDied'
  | 'OwnerExited'
  | 'Rebooted';

/** How a container ended. */
export interface ExitRecord {
  /** 128 + signal when killed; 128 when it could not be started; 137 when nobody saw it end. */
  readonly exitCode: number;
  /** 0: it ended by itself. */
  readonly signal: number;
  readonly oomKilled: boolean;
  readonly reason: ExitReason;
  /** For a person; empty when there is nothing to add. */
  readonly message: string;
  /** Nanoseconds since 1970, as digits; `0` when it never ran. */
  readonly startedAtNanos: string;
  readonly finishedAtNanos: string;
}

/** The content of an image, or a part of it, mounted into a container. */
export interface MountedImage {
  /** Config digest. */
  readonly imageId: Digest;
  /** Diff ids, lowest first. */
  readonly chain: readonly Digest[];
  readonly containerPath: string;
  /** Absent: all of it. */
  readonly subPath?: string;
}

/** What is known of a container, on disk. Written before its first directory is made, removed after the last one is gone. */
export interface ContainerRecord {
  readonly id: string;
  readonly sandboxId: string;
  readonly config: ContainerConfig;
  /** Config digest of the image. */
  readonly imageId: Digest;
  readonly state: ContainerState;
  /** The engine's process that makes it; decides who undoes a half-made one. */
  readonly creator: ProcessIdentity;
  readonly bootId: string;
  /** Diff ids of the image, lowest first. */
  readonly chain: readonly Digest[];
  /** Absent while creating. */
  readonly spec?: RuntimeSpec;
  /** The external runtime that makes it, as it was configured when the sandbox was made; absent: the supervisor makes it. */
  readonly oci?: OciRuntime;
  /** Number. */
  readonly stopSignal: number;
  /** Images that it mounts beside its own, in the order of its image mounts; absent: none. */
  readonly mountedImages?: readonly MountedImage[];
  /** What the image declares as volumes; absent in records of earlier versions. */
  readonly imageVolumes?: readonly string[];
  /** Relative cgroup, below the sandbox's. */
  readonly cgroup: string;
  /** Absolute path of the log; absent: output is not kept. */
  readonly logPath?: string;
  /** Pid 1 of the container while it runs. */
  readonly process?: ProcessIdentity;
  readonly exit?: ExitRecord;
  readonly createdAtNanos: string;
  readonly startedAtNanos?: string;
}

/**
 * The record in another state.
 * @throws FailedPreconditionError when the table has no such transition.
 */
export function transition(
  record: ContainerRecord,
  state: ContainerState,
  changes: Partial<Omit<ContainerRecord, 'id' | 'state'>> = {},
): ContainerRecord {
  if (!TRANSITIONS[record.state].includes(state)) {
    throw new FailedPreconditionError(
      `Container "${record.config.name}" (${record.id}) is ${record.state} and cannot become ${state}`,
    );
  }
  return { ...record, ...changes, state };
}

/** The record of a container that has ended; one that had ended before keeps its first exit. */
export function ended(record: ContainerRecord, exit: ExitRecord): ContainerRecord {
  if (record.state === 'exited') return record;
  const { process: _gone, ...rest } = record;
  return transition(rest, 'exited', { exit });
}

/** Exit code and reason of an exit that the supervisor saw. */
export function observedExit(exited: {
  readonly exitCode: number;
  readonly signal: number;
  readonly oomKilled: boolean;
  readonly startedAtNanos: bigint | string;
  readonly finishedAtNanos: bigint | string;
}): ExitRecord {
  return {
    exitCode: exited.exitCode,
    signal: exited.signal,
    oomKilled: exited.oomKilled,
    reason: exited.oomKilled ? 'OOMKilled' : exited.exitCode === 0 ? 'Completed' : 'Error',
    message: '',
    startedAtNanos: String(exited.startedAtNanos),
    finishedAtNanos: String(exited.finishedAtNanos),
  };
}

const UNSEEN_MESSAGES: Partial<Record<ExitReason, string>> = {
  SandboxStopped: 'The sandbox was stopped',
  SupervisorDied: 'The supervisor of the sandbox died; its processes were killed',
  OwnerExited: 'The process that owned the sandbox ended; its processes were killed',
  Rebooted: 'The machine was restarted',
};

/** Exit of a container that nobody saw end. */
export function unseenExit(
  reason: ExitReason,
  times: { readonly startedAtNanos: string; readonly finishedAtNanos: string },
): ExitRecord {
  const message = UNSEEN_MESSAGES[reason] ?? '';
  return { exitCode: 137, signal: 9, oomKilled: false, reason, message, ...times };
}
