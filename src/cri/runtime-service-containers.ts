import { toNumber } from './convert.js';
import { toContainerConfig } from './convert-container.js';
import { toContainerResources } from './convert-resources.js';
import { fromContainer, fromContainerStatus, matchesContainer } from './convert-status.js';
import { findContainer, listContainers, requireContainer, requireSandbox } from './find.js';
import {
  type ContainerFilter,
  type ContainerStatusRequest,
  ContainerStatusResponse,
  type CreateContainerRequest,
  CreateContainerResponse,
  ListContainersResponse,
  type RemoveContainerRequest,
  RemoveContainerResponse,
  type ReopenContainerLogRequest,
  ReopenContainerLogResponse,
  type StartContainerRequest,
  StartContainerResponse,
  type StopContainerRequest,
  StopContainerResponse,
  StreamContainersResponse,
  type UpdateContainerResourcesRequest,
  UpdateContainerResourcesResponse,
} from './generated/api.js';
import { pieces, type ServiceParts, verboseInfo } from './service-parts.js';

interface FilterRequest {
  readonly filter?: ContainerFilter | undefined;
}

/** Calls about containers. */
export function containerCalls({ engine, rpc, claims }: ServiceParts) {
  const { containers, images } = engine;
  const list = ({ filter }: FilterRequest) =>
    listContainers(engine)
      .filter((record) => matchesContainer(record, filter))
      .map(fromContainer);

  return {
    // Without the call's signal: a client that gave up finds the container when it asks again.
    createContainer: rpc.unary(
      CreateContainerResponse,
      async ({ podSandboxId, config }: CreateContainerRequest) => {
        const sandbox = requireSandbox(engine, podSandboxId);
        const wanted = toContainerConfig(config, sandbox);
        const target = wanted.processNamespaceOf;
        const { id } = await claims.containers.create(sandbox.id, {
          ...wanted,
          ...(target === undefined
            ? {}
            : { processNamespaceOf: requireContainer(engine, target).id }),
        });
        return { containerId: id };
      },
    ),

    startContainer: rpc.unary(
      StartContainerResponse,
      async ({ containerId }: StartContainerRequest) => {
        await containers.start(requireContainer(engine, containerId).id);
        return {};
      },
    ),

    stopContainer: rpc.unary(
      StopContainerResponse,
      async ({ containerId, timeout }: StopContainerRequest, { signal }) => {
        const record = findContainer(engine, containerId);
        const timeoutMs = Math.max(0, toNumber(timeout, 'timeout')) * 1000;
        if (record !== undefined) await containers.stop(record.id, { timeoutMs, signal });
        return {};
      },
    ),

    removeContainer: rpc.unary(
      RemoveContainerResponse,
      async ({ containerId }: RemoveContainerRequest) => {
        const record = findContainer(engine, containerId);
        if (record !== undefined) await containers.remove(record.id);
        return {};
      },
    ),

    listContainers: rpc.unary(ListContainersResponse, (request: FilterRequest) => ({
      containers: list(request),
    })),

    streamContainers: rpc.stream(
      StreamContainersResponse,
      async function* (request: FilterRequest) {
        for (const piece of pieces(list(request))) yield { containers: piece };
      },
    ),

    containerStatus: rpc.unary(
      ContainerStatusResponse,
      ({ containerId, verbose }: ContainerStatusRequest) => {
        const record = requireContainer(engine, containerId);
        const { spec, ...rest } = record;
        return {
          status: fromContainerStatus(record, (name) => images.find(name)),
          ...verboseInfo(verbose, () => ({
            sandboxID: record.sandboxId,
            pid: record.process?.pid ?? 0,
            ...rest,
            runtimeSpec: spec,
          })),
        };
      },
    ),

    // An OOM score of 0 cannot be told from none, and an update that does not speak of it must not reset it.
    updateContainerResources: rpc.unary(
      UpdateContainerResourcesResponse,
      async ({ containerId, linux }: UpdateContainerResourcesRequest) => {
        const { id } = requireContainer(engine, containerId);
        const { oomScoreAdj, ...limits } = toContainerResources(linux);
        await containers.updateResources(id, {
          ...limits,
          ...(oomScoreAdj ? { oomScoreAdj } : {}),
        });
        return {};
      },
    ),

    reopenContainerLog: rpc.unary(
      ReopenContainerLogResponse,
      async ({ containerId }: ReopenContainerLogRequest) => {
        await containers.reopenLog(requireContainer(engine, containerId).id);
        return {};
      },
    ),
  };
}
