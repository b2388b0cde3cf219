import { isIP } from 'node:net';
import { InvalidArgumentError } from '../errors.js';
import { packageVersion } from '../version.js';
import type { RuntimeHandler } from './cri-engine.js';
import {
  CgroupDriver,
  RuntimeConfigResponse,
  type StatusRequest,
  StatusResponse,
  type UpdateRuntimeConfigRequest,
  UpdateRuntimeConfigResponse,
  VersionResponse,
} from './generated/api.js';
import type { ServiceParts } from './service-parts.js';

/** Version of the interface's first half, the only one a kubelet accepts; the second half is the package `runtime.v1`. */
const KUBELET_API_VERSION = '0.1.0';

/** Calls about the runtime as a whole. */
export function nodeCalls({ engine, rpc }: ServiceParts) {
  return {
    // A kubelet ends itself when one of the four is empty, and asks at every connect.
    version: rpc.unary(VersionResponse, () => ({
      version: KUBELET_API_VERSION,
      runtimeName: 'cais',
      runtimeVersion: packageVersion(),
      runtimeApiVersion: 'v1',
    })),

    status: rpc.unary(StatusResponse, async ({ verbose }: StatusRequest) => {
      const network = await engine.networkStatus();
      const handlers = await engine.runtimeHandlers();
      return {
        status: {
          conditions: [
            { type: 'RuntimeReady', status: true, reason: '', message: '' },
            {
              type: 'NetworkReady',
              status: network.ready,
              reason: network.reason,
              message: network.message,
            },
          ],
        },
        runtimeHandlers: handlers.flatMap(fromHandler),
        features: {
          supplementalGroupsPolicy: true,
          userNamespacesHostNetwork: false,
          mountOptions: true,
        },
        info: verbose ? nodeInfo({ config: engine.config, network, handlers }) : {},
      };
    }),

    runtimeConfig: rpc.unary(RuntimeConfigResponse, () => ({
      linux: { cgroupDriver: CgroupDriver.CGROUPFS },
    })),

    // A network configuration brings its own addresses, and the built-in network has its subnet from the configuration file: one that the cluster
    // assigns later must not move running pods.
    updateRuntimeConfig: rpc.unary(
      UpdateRuntimeConfigResponse,
      ({ runtimeConfig }: UpdateRuntimeConfigRequest) => {
        for (const cidr of (runtimeConfig?.networkConfig?.podCidr ?? '').split(',')) {
          if (cidr !== '') checkCidr(cidr.trim());
        }
        return {};
      },
    ),
  };
}

/** The default handler is listed under its name, and under none, where clients look for it. */
function fromHandler({ name, isDefault, features }: RuntimeHandler) {
  const { recursiveReadOnlyMounts, userNamespaces } = features;
  const handler = { name, features: { recursiveReadOnlyMounts, userNamespaces } };
  return isDefault ? [{ ...handler, name: '' }, handler] : [handler];
}

function checkCidr(text: string): void {
  const [address = '', prefix = '', ...rest] = text.split('/');
  const family = isIP(address);
  const isPrefix = /^[0-9]{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128);
  if (family === 0 || !isPrefix || rest.length > 0) {
    throw new InvalidArgumentError(
      `Pod CIDR ${JSON.stringify(text.slice(0, 100))}: expected such as "10.244.0.0/24"`,
    );
  }
}

/** JSON by name, for people; tools look for `stateDir` to find the file system of the containers. */
function nodeInfo({
  config,
  network,
  handlers,
}: {
  readonly config: ServiceParts['engine']['config'];
  readonly network: object;
  readonly handlers: readonly object[];
}): Record<string, string> {
  const { root, run } = config;
  return {
    config: JSON.stringify({ rootDir: root, stateDir: root, runDir: run, ...config }),
    network: JSON.stringify(network),
    runtimeHandlers: JSON.stringify(handlers),
    process: JSON.stringify({
      pid: process.pid,
      node: process.version,
      uptimeSeconds: Math.round(process.uptime()),
    }),
  };
}
