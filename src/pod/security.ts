import { FailedPreconditionError } from '../errors.js';
import type { Pod, PodContainer } from '../objects/defaults.js';
import type { ContainerSecurity } from '../runtime/container-config.js';

/**
 * Security settings of one container: its own fields win over the pod's, one by one.
 * @see contracts/kubernetes-semantics.md F67 to F74
 */
export function containerSecurity(container: PodContainer, pod: Pod): ContainerSecurity {
  const own = container.securityContext ?? {};
  const shared = pod.spec.securityContext ?? {};
  const runAsUser = own.runAsUser ?? shared.runAsUser;
  const runAsGroup = own.runAsGroup ?? shared.runAsGroup;
  const groups = [...(shared.supplementalGroups ?? [])];
  if (shared.fsGroup !== undefined) groups.push(shared.fsGroup);
  const privileged = own.privileged ?? false;
  const profile = own.seccompProfile?.type ?? shared.seccompProfile?.type ?? 'RuntimeDefault';
  return {
    ...(runAsUser === undefined ? {} : { runAsUser }),
    ...(runAsGroup === undefined ? {} : { runAsGroup }),
    supplementalGroups: groups,
    privileged,
    readOnlyRootFilesystem: own.readOnlyRootFilesystem ?? false,
    // Kubernetes: only an explicit `allowPrivilegeEscalation: false` sets no_new_privs (F71).
    noNewPrivileges: own.allowPrivilegeEscalation === false,
    addCapabilities: own.capabilities?.add ?? [],
    dropCapabilities: own.capabilities?.drop ?? [],
    // Every container gets the default profile unless it asks for none (the kubelet's seccompDefault).
    seccomp: privileged || profile === 'Unconfined' ? 'unconfined' : 'default',
  };
}

/**
 * Refuses a container that must not run as root but would, or of which that cannot be known.
 * @param imageUser USER of the image, empty when it has none.
 * @throws FailedPreconditionError with the kubelet's words.
 * @see contracts/kubernetes-semantics.md F69
 */
export function checkNonRoot(
  container: PodContainer,
  { pod, imageUser }: { pod: Pod; imageUser: string },
): void {
  const own = container.securityContext ?? {};
  const shared = pod.spec.securityContext ?? {};
  if (!(own.runAsNonRoot ?? shared.runAsNonRoot)) return;
  const where = `(pod: "${pod.metadata.name}_${pod.metadata.namespace}", container: ${container.name})`;
  const runAsUser = own.runAsUser ?? shared.runAsUser;
  if (runAsUser === 0) {
    throw new FailedPreconditionError(`container's runAsUser breaks non-root policy ${where}`);
  }
  if (runAsUser !== undefined) return;
  const user = imageUser.split(':')[0] ?? '';
  if (user === '' || /^0+$/.test(user)) {
    throw new FailedPreconditionError(
      `container has runAsNonRoot and image will run as root ${where}`,
    );
  }
  if (!/^[0-9]+$/.test(user)) {
    throw new FailedPreconditionError(
      `container has runAsNonRoot and image has non-numeric user (${user}), cannot verify user is non-root ${where}`,
    );
  }
}
