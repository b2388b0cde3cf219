import type { ContainerEdits } from '../runtime/cdi.js';
import type { ContainerConfig } from '../runtime/container-config.js';
import {
  allHostDevices,
  mergeDevices,
  type ResolvedDevices,
  resolveDevices,
} from '../runtime/host-devices.js';
import type { SandboxConfig } from '../runtime/sandbox-config.js';
import type { ContainerParts } from './container-parts.js';

/**
 * Device nodes of a container and what it may do with them: those asked for, and all of the host's when it is privileged. Root of a pod's own user
 * namespace is not root of the host, so there a privileged container gets only what it asks for.
 * @throws InvalidArgumentError naming a device that cannot be used.
 */
export async function containerDevices(
  config: ContainerConfig,
  sandbox: SandboxConfig,
): Promise<ResolvedDevices> {
  const asked = await resolveDevices(config.devices ?? []);
  if (!config.security.privileged || sandbox.userNamespace !== undefined) return asked;
  return { ...asked, devices: mergeDevices(await allHostDevices(), asked.devices) };
}

/**
 * What the CDI devices of a container change in it.
 * @throws NotFoundError, UnsupportedError, InvalidArgumentError naming the device.
 */
export async function cdiEdits(
  { cdiDirectories }: Pick<ContainerParts, 'cdiDirectories'>,
  { cdiDevices = [] }: ContainerConfig,
): Promise<ContainerEdits | undefined> {
  if (cdiDevices.length === 0) return undefined;
  // Loaded by the few containers that need it: the YAML reader takes longer to load than a container to start.
  const { resolveCdiDevices } = await import('../runtime/cdi.js');
  return resolveCdiDevices(cdiDevices, cdiDirectories);
}
