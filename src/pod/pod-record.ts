import type { Pod } from '../objects/defaults.js';
import { currentBootId, isAlive, type ProcessIdentity } from '../sandbox/process-identity.js';
import type { ContainerStatus, PodPhase } from './status.js';

/** What is stored of a pod, under its uid, from before anything is made for it until after everything is gone. */
export interface PodRecord {
  readonly uid: string;
  readonly pod: Pod;
  readonly createdAtMs: number;
  readonly logDirectory: string;
  /** Private directory of the pod: volumes and termination messages. */
  readonly directory: string;
  /** What becomes of the pod when its owner is gone. */
  readonly onOwnerExit: 'keep' | 'kill';
  /** Nothing of it is to stay once it has ended: a foreground run. */
  readonly isRemovedAtEnd: boolean;
  /** The process whose worker runs the pod. */
  readonly owner: ProcessIdentity;
  readonly bootId: string;
  /** Somebody wants the pod to end: its worker must restart nothing. */
  readonly isStopRequested: boolean;
  readonly phase: PodPhase;
  readonly reason?: string;
  readonly sandboxId?: string;
  readonly ip?: string;
  readonly containers: readonly ContainerStatus[];
}

/** Whether the process whose worker runs the pod still lives. */
export function hasLivingOwner({ owner, bootId }: Pick<PodRecord, 'owner' | 'bootId'>): boolean {
  return bootId === currentBootId() && isAlive(owner);
}
