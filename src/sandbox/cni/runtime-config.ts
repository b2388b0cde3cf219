import { hostPortsOf } from '../host-ports.js';
import type { PodNetworkConfig } from '../pod-network.js';
import { bandwidthOf } from './bandwidth.js';
import type { CniPluginConfig } from './network-list.js';

/** What plugins may be told of a pod, by the name of the capability that asks for it. */
export type CapabilityArguments = Readonly<Record<string, unknown>>;

/** @throws InvalidArgumentError for annotations and ports that cannot be. @see CNI conventions, "Dynamic Plugin specific fields" */
export function capabilityArguments(config: PodNetworkConfig): CapabilityArguments {
  const ports = hostPortsOf(config.portMappings);
  const bandwidth = bandwidthOf(config.annotations);
  const { annotations = {}, dns } = config;
  return {
    ...(ports.length === 0
      ? {}
      : {
          portMappings: ports.map(({ hostPort, containerPort, protocol, hostIp = '' }) => ({
            hostPort,
            containerPort,
            protocol,
            hostIP: hostIp,
          })),
        }),
    ...(bandwidth === undefined ? {} : { bandwidth }),
    ...(dns === undefined
      ? {}
      : { dns: { servers: dns.servers, searches: dns.searches, options: dns.options ?? [] } }),
    ...(Object.keys(annotations).length === 0
      ? {}
      : { 'io.kubernetes.cri.pod-annotations': annotations }),
  };
}

/**
 * What one plugin reads from its standard input: its own configuration with what the runtime adds, `runtimeConfig` with what it asks for by its
 * capabilities, and without these.
 * @see CNI specification 1.1, section 3, "Deriving execution configuration from plugin configuration"
 */
export function requestConfig(
  { capabilities = {}, ...own }: CniPluginConfig,
  added: { readonly [key: string]: unknown; readonly capabilityArguments: CapabilityArguments },
): object {
  const { capabilityArguments: offered, ...rest } = added;
  const runtimeConfig = Object.fromEntries(
    Object.entries(offered).filter(([name]) => capabilities[name] === true),
  );
  // What only the runtime may say is never taken from a file.
  const taken = Object.entries(own).filter(
    ([key]) => key !== 'runtimeConfig' && key !== 'prevResult' && !key.startsWith('cni.dev/'),
  );
  return {
    ...Object.fromEntries(taken),
    ...rest,
    ...(Object.keys(runtimeConfig).length === 0 ? {} : { runtimeConfig }),
  };
}

/**
 * CNI_ARGS of a pod: names that the Kubernetes plugins look for, and a word for others that they may ignore what they do not know.
 * Names and ids come from the caller; a character that would begin an argument of its own is refused by the CRI's own rules, and left out here.
 */
export function podArguments(sandboxId: string, config: PodNetworkConfig): string {
  const values = {
    IgnoreUnknown: '1',
    K8S_POD_NAMESPACE: config.namespace,
    K8S_POD_NAME: config.name,
    K8S_POD_INFRA_CONTAINER_ID: sandboxId,
    K8S_POD_UID: config.uid,
  };
  return Object.entries(values)
    .map(([name, value]) => `${name}=${value.replace(/[;=\0\n]/g, '')}`)
    .join(';');
}
