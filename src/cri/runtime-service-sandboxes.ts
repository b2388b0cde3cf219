import { nowNanos } from './convert.js';
import {
  fromSandbox,
  fromSandboxStatus,
  matchesSandbox,
  toSandboxConfig,
} from './convert-sandbox.js';
import { fromContainerStatus } from './convert-status.js';
import { findSandbox, listContainers, listSandboxes, requireSandbox } from './find.js';
import {
  ListPodSandboxResponse,
  type PodSandboxFilter,
  type PodSandboxStatusRequest,
  PodSandboxStatusResponse,
  type RemovePodSandboxRequest,
  RemovePodSandboxResponse,
  type RunPodSandboxRequest,
  RunPodSandboxResponse,
  type StopPodSandboxRequest,
  StopPodSandboxResponse,
  StreamPodSandboxesResponse,
  type UpdatePodSandboxResourcesRequest,
  UpdatePodSandboxResourcesResponse,
} from './generated/api.js';
import { pieces, type ServiceParts, verboseInfo } from './service-parts.js';

interface FilterRequest {
  readonly filter?: PodSandboxFilter | undefined;
}

/** Calls about sandboxes. */
export function sandboxCalls({ engine, rpc, claims }: ServiceParts) {
  const list = ({ filter }: FilterRequest) =>
    listSandboxes(engine)
      .filter((record) => matchesSandbox(record, filter))
      .map(fromSandbox);

  return {
    // Without the call's signal: a client that gave up finds the sandbox when it asks again.
    runPodSandbox: rpc.unary(
      RunPodSandboxResponse,
      async ({ config, runtimeHandler }: RunPodSandboxRequest) => {
        const { id } = await claims.sandboxes.run(toSandboxConfig(config, runtimeHandler));
        return { podSandboxId: id };
      },
    ),

    // The kubelet has stopped the containers with their grace before; what still runs is killed.
    stopPodSandbox: rpc.unary(
      StopPodSandboxResponse,
      async ({ podSandboxId }: StopPodSandboxRequest) => {
        const record = findSandbox(engine, podSandboxId);
        if (record !== undefined) await engine.sandboxes.stop(record.id, { graceMs: 0 });
        return {};
      },
    ),

    removePodSandbox: rpc.unary(
      RemovePodSandboxResponse,
      async ({ podSandboxId }: RemovePodSandboxRequest) => {
        const record = findSandbox(engine, podSandboxId);
        if (record !== undefined) await engine.sandboxes.remove(record.id);
        return {};
      },
    ),

    podSandboxStatus: rpc.unary(
      PodSandboxStatusResponse,
      ({ podSandboxId, verbose }: PodSandboxStatusRequest) => {
        const record = requireSandbox(engine, podSandboxId);
        const { images } = engine;
        return {
          status: fromSandboxStatus(record),
          containersStatuses: listContainers(engine, { sandboxId: record.id }).map((container) =>
            fromContainerStatus(container, (name) => images.find(name)),
          ),
          timestamp: nowNanos(),
          ...verboseInfo(verbose, () => ({ pid: record.supervisor?.pid ?? 0, ...record })),
        };
      },
    ),

    listPodSandbox: rpc.unary(ListPodSandboxResponse, (request: FilterRequest) => ({
      items: list(request),
    })),

    streamPodSandboxes: rpc.stream(
      StreamPodSandboxesResponse,
      async function* (request: FilterRequest) {
        for (const podSandboxes of pieces(list(request))) yield { podSandboxes };
      },
    ),

    // The kubelet has changed the pod's cgroup already, and it alone knows whether a sum over the containers is a limit of the pod:
    // with one container that has none, it is not. Nothing is left to do for a runtime whose pods are no machines.
    updatePodSandboxResources: rpc.unary(
      UpdatePodSandboxResourcesResponse,
      ({ podSandboxId }: UpdatePodSandboxResourcesRequest) => {
        requireSandbox(engine, podSandboxId);
        return {};
      },
    ),
  };
}
