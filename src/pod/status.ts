import type { Pod, RestartPolicy } from '../objects/defaults.js';
import type { PodContainerExit } from './services.js';

/** @see contracts/kubernetes-semantics.md I1 to I7 */
export type PodPhase = 'Pending' | 'Running' | 'Succeeded' | 'Failed';

/** No other phase comes after it. */
export function isEnded(phase: PodPhase): boolean {
  return phase === 'Succeeded' || phase === 'Failed';
}

/** Reason of a container that waits for its restart. */
export const CRASH_LOOP_BACK_OFF = 'CrashLoopBackOff';

/** State of one container of a pod. Plain data: it is stored. */
export type ContainerState =
  | { readonly type: 'waiting'; readonly reason: string; readonly message?: string }
  | { readonly type: 'running'; readonly startedAtMs: number }
  | {
      readonly type: 'terminated';
      readonly exitCode: number;
      readonly reason: string;
      /** What the container said of its end, or why it could not be started; not to be trusted. */
      readonly message?: string;
      readonly startedAtMs: number;
      readonly finishedAtMs: number;
    };

export interface ContainerStatus {
  readonly name: string;
  readonly isInit: boolean;
  readonly image: string;
  /** Id of the newest container made under this name. */
  readonly containerId?: string;
  readonly restartCount: number;
  readonly state: ContainerState;
}

/** Statuses of a pod that has just been made, init containers first. */
export function initialStatuses(pod: Pod): ContainerStatus[] {
  const { initContainers, containers } = pod.spec;
  const reason = initContainers.length > 0 ? 'PodInitializing' : 'ContainerCreating';
  return [
    ...initContainers.map((container) => ({ container, isInit: true })),
    ...containers.map((container) => ({ container, isInit: false })),
  ].map(({ container, isInit }) => ({
    name: container.name,
    isInit,
    image: container.image,
    restartCount: 0,
    state: { type: 'waiting', reason },
  }));
}

/** How a container that ended is described: `Completed`, `Error` or `OOMKilled` unless it has a reason of its own. */
export function terminated(
  exit: PodContainerExit,
  message?: string,
): ContainerState & { type: 'terminated' } {
  const { exitCode, startedAtMs, finishedAtMs } = exit;
  const usual = exitCode === 0 ? 'Completed' : 'Error';
  const reason = exit.oomKilled ? 'OOMKilled' : (exit.reason ?? usual);
  return {
    type: 'terminated',
    exitCode,
    reason,
    ...(message === undefined ? {} : { message }),
    startedAtMs,
    finishedAtMs,
  };
}

/** Whether a container that ended so is started again. */
export function isRestarted(policy: RestartPolicy, exitCode: number): boolean {
  return policy === 'Always' || (policy === 'OnFailure' && exitCode !== 0);
}

/** Phase of a pod from the states of its containers. @see contracts/kubernetes-semantics.md I1 to I5 */
export function podPhase(
  statuses: readonly ContainerStatus[],
  { restartPolicy, isStopping }: { restartPolicy: RestartPolicy; isStopping: boolean },
): PodPhase {
  const willRestart = (exitCode: number) => !isStopping && isRestarted(restartPolicy, exitCode);
  for (const { state } of statuses.filter(({ isInit }) => isInit)) {
    if (state.type !== 'terminated')
      return isStopping && state.type === 'waiting' ? 'Failed' : 'Pending';
    if (state.exitCode === 0) continue;
    return !isStopping && restartPolicy !== 'Never' ? 'Pending' : 'Failed';
  }
  const states = statuses.filter(({ isInit }) => !isInit).map(({ state }) => state);
  const isAnyRunning = states.some(({ type }) => type === 'running');
  if (states.some(hasNeverStarted)) return isStopping && !isAnyRunning ? 'Failed' : 'Pending';
  if (isAnyRunning) return 'Running';
  if (states.some(({ type }) => type === 'waiting')) return isStopping ? 'Failed' : 'Running';
  const codes = states.map((state) => (state.type === 'terminated' ? state.exitCode : 0));
  if (codes.some(willRestart)) return 'Running';
  return codes.every((code) => code === 0) ? 'Succeeded' : 'Failed';
}

/** A container that waits has never run, unless it waits for its restart. */
function hasNeverStarted(state: ContainerState): boolean {
  return state.type === 'waiting' && state.reason !== CRASH_LOOP_BACK_OFF;
}

/** Exit code of a pod that has ended: that of the container which failed first, 0 if none did. */
export function podExitCode(statuses: readonly ContainerStatus[]): number {
  const failures = statuses
    .map(({ state }) => state)
    .filter((state) => state.type === 'terminated')
    .filter(({ exitCode }) => exitCode !== 0)
    .sort((one, other) => one.finishedAtMs - other.finishedAtMs);
  return failures[0]?.exitCode ?? 0;
}
