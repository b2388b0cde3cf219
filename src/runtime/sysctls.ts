import { InvalidArgumentError } from '../errors.js';

export interface SysctlContext {
  readonly hostNetwork: boolean;
  readonly hostIpc: boolean;
}

const IPC_SYSCTLS = new Set([
  'kernel.sem',
  'kernel.shmall',
  'kernel.shmmax',
  'kernel.shmmni',
  'kernel.shm_rmid_forced',
  'kernel.msgmax',
  'kernel.msgmnb',
  'kernel.msgmni',
]);

/**
 * Accepts only sysctls that belong to a namespace which the pod has for itself; anything else would change the host.
 * Stops the smuggling of a second setting through the value (CVE-2022-0811) and namespaced names that reach the host's namespace (CVE-2022-0532).
 * @throws InvalidArgumentError naming the sysctl.
 */
export function checkSysctls(
  sysctls: Readonly<Record<string, string>>,
  context: SysctlContext,
): void {
  for (const [name, value] of Object.entries(sysctls)) {
    const shown = JSON.stringify(name.slice(0, 100));
    if (!/^[a-z0-9_-]+(\.[a-z0-9_-]+)+$/i.test(name)) {
      throw new InvalidArgumentError(
        `Sysctl ${shown}: expected a dotted name such as "net.core.somaxconn"`,
      );
    }
    if (value.length > 1024 || !/^[A-Za-z0-9 \t,._:-]*$/.test(value)) {
      throw new InvalidArgumentError(
        `Sysctl ${shown}: the value ${JSON.stringify(value.slice(0, 60))} holds characters that no sysctl needs`,
      );
    }
    if (name.startsWith('net.')) {
      if (context.hostNetwork) {
        throw new InvalidArgumentError(
          `Sysctl ${shown}: not allowed with the host's network, it would change the host`,
        );
      }
    } else if (IPC_SYSCTLS.has(name) || name.startsWith('fs.mqueue.')) {
      if (context.hostIpc) {
        throw new InvalidArgumentError(
          `Sysctl ${shown}: not allowed with the host's IPC, it would change the host`,
        );
      }
    } else {
      throw new InvalidArgumentError(
        `Sysctl ${shown}: belongs to no namespace of the pod, it would change the host`,
      );
    }
  }
}
