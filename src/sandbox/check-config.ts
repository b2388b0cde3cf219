import { InvalidArgumentError, UnsupportedError } from '../errors.js';
import type { ResolvedHandler } from '../runtime/handlers.js';
import { checkPath } from '../runtime/mounts.js';
import { checkResources } from '../runtime/resources.js';
import type { SandboxConfig } from '../runtime/sandbox-config.js';
import { checkSysctls } from '../runtime/sysctls.js';
import { checkUserNamespace } from '../runtime/user-namespace.js';
import { resolvConf } from './dns.js';
import { hostPortsOf } from './host-ports.js';
import { hostsFile } from './hosts-file.js';

/** The kernel's limit for host names. */
const HOSTNAME_MAX_BYTES = 64;

/**
 * Refuses a sandbox that cannot be made or would reach outside itself, before anything is made.
 * @throws InvalidArgumentError naming the field.
 */
export function checkSandboxConfig(config: SandboxConfig): void {
  if (config.logDirectory !== undefined) checkPath(config.logDirectory, 'log directory');
  checkResources(config.resources ?? {});
  checkSysctls(config.sysctls ?? {}, config);
  if (
    !config.hostNetwork &&
    (!/^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(config.hostname) ||
      config.hostname.length > HOSTNAME_MAX_BYTES)
  ) {
    throw new InvalidArgumentError(
      `Invalid host name ${JSON.stringify(config.hostname.slice(0, 100))}: expected letters, digits, "-" and ".", at most ${HOSTNAME_MAX_BYTES}`,
    );
  }
  hostPortsOf(config.portMappings);
  const { cgroupParent } = config;
  if (
    cgroupParent !== undefined &&
    !/^[A-Za-z0-9_-][A-Za-z0-9_.-]*(\/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$/.test(cgroupParent)
  ) {
    throw new InvalidArgumentError(
      `Invalid cgroup parent ${JSON.stringify(cgroupParent.slice(0, 200))}: expected a relative path without ".."`,
    );
  }
  checkUserNamespace(config);
  if (config.shareProcessNamespace && config.hostPid) {
    throw new InvalidArgumentError(
      "A pod has the host's process ids or its own shared ones, not both",
    );
  }
  // Both throw for values that would smuggle lines into a file.
  resolvConf(config.dns, '');
  hostsFile({ hostname: config.hostname, ip: undefined, hostAliases: config.hostAliases ?? [] });
}

/**
 * Refuses what a runtime handler cannot do, as its features say.
 * @throws UnsupportedError naming both.
 */
export function checkHandlerFeatures(config: SandboxConfig, handler: ResolvedHandler): void {
  if (config.userNamespace !== undefined && handler.oci !== undefined) {
    throw new UnsupportedError(
      `Runtime handler "${handler.name}" does not support user namespaces`,
    );
  }
}
