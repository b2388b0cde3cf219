import type { Pod } from '../objects/defaults.js';

/** A stop signal gets at least this long, whatever the grace period says. @see contracts/kubernetes-semantics.md H21 */
const MIN_GRACE_MS = 2000;

/**
 * Milliseconds between the stop signal and SIGKILL when a pod is ended.
 * @param overrideSeconds what the caller asks for instead of the pod's own; 0 kills at once.
 */
export function killGraceMs(pod: Pod, overrideSeconds?: number): number {
  if (overrideSeconds === 0) return 0;
  const seconds = overrideSeconds ?? pod.spec.terminationGracePeriodSeconds;
  return Math.max(seconds * 1000, MIN_GRACE_MS);
}
