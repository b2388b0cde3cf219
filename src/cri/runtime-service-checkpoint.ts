import { UnsupportedError } from '../errors.js';
import { whyNoCheckpoint } from './criu.js';
import { requireContainer, requireSandbox } from './find.js';
import {
  type CheckpointContainerRequest,
  CheckpointContainerResponse,
  type CheckpointPodRequest,
  CheckpointPodResponse,
  RestorePodResponse,
} from './generated/api.js';
import type { ServiceParts } from './service-parts.js';

/** Calls that need CRIU; each answers Unimplemented and why. */
export function checkpointCalls({ engine, rpc }: ServiceParts) {
  return {
    checkpointContainer: rpc.unary(
      CheckpointContainerResponse,
      async ({ containerId }: CheckpointContainerRequest) => {
        const { config } = requireContainer(engine, containerId);
        throw await unsupported(`Cannot checkpoint container "${config.name}"`);
      },
    ),

    checkpointPod: rpc.unary(
      CheckpointPodResponse,
      async ({ podSandboxId }: CheckpointPodRequest) => {
        const { config } = requireSandbox(engine, podSandboxId);
        throw await unsupported(`Cannot checkpoint sandbox "${config.name}"`);
      },
    ),

    restorePod: rpc.unary(RestorePodResponse, async () => {
      throw await unsupported('Cannot restore a sandbox');
    }),
  };
}

async function unsupported(what: string): Promise<UnsupportedError> {
  return new UnsupportedError(`${what}: ${await whyNoCheckpoint()}`);
}
