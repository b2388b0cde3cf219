import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Config } from '../config.js';
import type { ResolvedHandler } from '../runtime/handlers.js';
import type { SandboxConfig } from '../runtime/sandbox-config.js';
import type { ProcessIdentity } from './process-identity.js';

/**
 * State of a sandbox.
 *
 *     initializing ──► ready ──► notready ──► (removed)
 *          └──────────────────────────────────► (undone)
 */
export type SandboxState = 'initializing' | 'ready' | 'notready';

/** Why a sandbox is not ready. */
export type SandboxReason = 'Stopped' | 'SupervisorDied' | 'OwnerExited' | 'Rebooted';

/** What is known of a sandbox, on disk. Written before the first thing is made for it, removed after the last one is gone. */
export interface SandboxRecord {
  readonly id: string;
  readonly config: SandboxConfig;
  readonly state: SandboxState;
  readonly reason?: SandboxReason;
  /** A stop has begun: the end of the supervisor is no accident. */
  readonly stopping?: boolean;
  /** The engine's process that made or adopted it. */
  readonly owner: ProcessIdentity;
  readonly supervisor?: ProcessIdentity;
  readonly bootId: string;
  /** What runs its containers; absent in records of earlier versions: the supervisor itself. */
  readonly handler?: ResolvedHandler;
  /** Relative cgroup of the sandbox; those of its containers lie below. */
  readonly cgroup: string;
  /** Relative cgroup of the supervisor, outside the sandbox's: an OOM kill there must not take the process that reports it. */
  readonly supervisorCgroup: string;
  /** Absent with the host's network. */
  readonly ip?: string;
  /** Further addresses, of the other family or of further interfaces. */
  readonly additionalIps?: readonly string[];
  /** Path of the network namespace while the supervisor lives; absent with the host's network. */
  readonly netnsPath?: string;
  /** Nanoseconds since 1970, as digits. */
  readonly createdAtNanos: string;
}

/** A new id: short, since it becomes part of socket paths (108 bytes), and never taken from a caller. */
export function newId(): string {
  return randomBytes(8).toString('hex');
}

export function isId(text: string): boolean {
  return /^[0-9a-f]{16}$/.test(text);
}

/** Now, as records write it. */
export function nowNanos(): string {
  return `${BigInt(Date.now()) * 1_000_000n}`;
}

/** Paths of one sandbox below the run root. */
export interface SandboxPaths {
  readonly runDirectory: string;
  readonly controlSocket: string;
  readonly exits: string;
  /** State of an OCI runtime that has no directory of its own. */
  readonly ociRoot: string;
  /** Bundle of one of its containers. */
  readonly bundle: (containerId: string) => string;
}

export function sandboxPaths(config: Pick<Config, 'run'>, id: string): SandboxPaths {
  const runDirectory = join(config.run, id);
  return {
    runDirectory,
    controlSocket: join(runDirectory, 'control.sock'),
    exits: join(runDirectory, 'exit'),
    ociRoot: join(runDirectory, 'oci'),
    bundle: (containerId) => join(runDirectory, containerId),
  };
}
