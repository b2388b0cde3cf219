import { readFileSync } from 'node:fs';
import type { Pod } from '../objects/defaults.js';
import type { ContainerStatus, PodPhase } from './status.js';

/** What is stored of a pod, under its uid, from before anything is made for it until after everything is gone. */
export interface PodRecord {
  readonly uid: string;
  readonly pod: Pod;
  readonly createdAtMs: number;
  readonly logDirectory: string;
  readonly volumeDirectory: string;
  /** What becomes of the pod when its owner is gone. */
  readonly onOwnerExit: 'keep' | 'kill';
  /** Nothing of it is to stay once it has ended: a foreground run. */
  readonly isRemovedAtEnd: boolean;
  /** The process whose worker runs the pod. */
  readonly owner: ProcessIdentity;
  /** Somebody wants the pod to end: its worker must restart nothing. */
  readonly isStopRequested: boolean;
  readonly phase: PodPhase;
  readonly reason?: string;
  readonly sandboxId?: string;
  readonly ip?: string;
  readonly containers: readonly ContainerStatus[];
}

/** Names one process for ever, over reuse of its pid and over reboots. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: string;
  readonly bootId: string;
}

/** Identity of a running process; undefined when there is none with that pid. */
export function processIdentity(pid: number): ProcessIdentity | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // The command name is in parentheses and may hold anything, also parentheses and blanks.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state] = fields;
  if (state === 'Z' || state === 'X') return undefined;
  return { pid, startTicks: fields[19] ?? '', bootId: bootId() };
}

/** Whether the process still runs. */
export function isAlive(identity: ProcessIdentity): boolean {
  const now = processIdentity(identity.pid);
  return now?.startTicks === identity.startTicks && now.bootId === identity.bootId;
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
