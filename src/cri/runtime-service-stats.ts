import type { ContainerRecord } from '../container/state.js';
import type { SandboxRecord } from '../sandbox/sandbox-record.js';
import {
  fromContainerUsage,
  fromSandboxUsage,
  matchesContainerStats,
  matchesSandboxStats,
} from './convert-usage.js';
import type { CriEngine } from './cri-engine.js';
import {
  listContainers,
  listSandboxes,
  requireContainer,
  requireSandbox,
  whileThere,
} from './find.js';
import {
  type ContainerStats,
  type ContainerStatsFilter,
  type ContainerStatsRequest,
  ContainerStatsResponse,
  type DeepPartial,
  ListContainerStatsResponse,
  ListPodSandboxStatsResponse,
  type PodSandboxStats,
  type PodSandboxStatsFilter,
  type PodSandboxStatsRequest,
  PodSandboxStatsResponse,
  StreamContainerStatsResponse,
  StreamPodSandboxStatsResponse,
} from './generated/api.js';
import { mapConcurrently } from './map-concurrently.js';
import { pieces, type ServiceParts } from './service-parts.js';

interface ContainerFilterRequest {
  readonly filter?: ContainerStatsFilter | undefined;
}

interface SandboxFilterRequest {
  readonly filter?: PodSandboxStatsFilter | undefined;
}

/** Calls about what containers and sandboxes use. */
export function statsCalls({ engine, rpc }: ServiceParts) {
  const listOfContainers = ({ filter }: ContainerFilterRequest) =>
    containersUsage(
      engine,
      listContainers(engine).filter((record) => matchesContainerStats(record, filter)),
    );
  const listOfSandboxes = async ({ filter }: SandboxFilterRequest) => {
    const records = listSandboxes(engine).filter(
      (record) => record.state === 'ready' && matchesSandboxStats(record, filter),
    );
    const all = await mapConcurrently(records, (record) =>
      whileThere(sandboxUsage(engine, record)),
    );
    return all.filter((stats) => stats !== undefined);
  };

  return {
    containerStats: rpc.unary(
      ContainerStatsResponse,
      async ({ containerId }: ContainerStatsRequest) => ({
        stats: await containerUsage(engine, requireContainer(engine, containerId)),
      }),
    ),

    listContainerStats: rpc.unary(
      ListContainerStatsResponse,
      async (request: ContainerFilterRequest) => ({ stats: await listOfContainers(request) }),
    ),

    streamContainerStats: rpc.stream(
      StreamContainerStatsResponse,
      async function* (request: ContainerFilterRequest) {
        for (const containerStats of pieces(await listOfContainers(request))) {
          yield { containerStats };
        }
      },
    ),

    podSandboxStats: rpc.unary(
      PodSandboxStatsResponse,
      async ({ podSandboxId }: PodSandboxStatsRequest) => ({
        stats: await sandboxUsage(engine, requireSandbox(engine, podSandboxId)),
      }),
    ),

    listPodSandboxStats: rpc.unary(
      ListPodSandboxStatsResponse,
      async (request: SandboxFilterRequest) => ({ stats: await listOfSandboxes(request) }),
    ),

    streamPodSandboxStats: rpc.stream(
      StreamPodSandboxStatsResponse,
      async function* (request: SandboxFilterRequest) {
        for (const podSandboxStats of pieces(await listOfSandboxes(request))) {
          yield { podSandboxStats };
        }
      },
    ),
  };
}

/** Containers that ended use nothing; those that end while they are looked at are left out. */
async function containersUsage(
  engine: CriEngine,
  records: readonly ContainerRecord[],
): Promise<DeepPartial<ContainerStats>[]> {
  const alive = records.filter(({ state }) => state !== 'exited');
  const all = await mapConcurrently(alive, (record) => whileThere(containerUsage(engine, record)));
  return all.filter((stats) => stats !== undefined);
}

async function containerUsage(
  { containers }: CriEngine,
  record: ContainerRecord,
): Promise<DeepPartial<ContainerStats>> {
  return fromContainerUsage(record, await containers.stats(record.id));
}

async function sandboxUsage(
  engine: CriEngine,
  record: SandboxRecord,
): Promise<DeepPartial<PodSandboxStats>> {
  const [usage, containers] = await Promise.all([
    engine.sandboxes.stats(record.id, { processes: true }),
    containersUsage(engine, listContainers(engine, { sandboxId: record.id })),
  ]);
  return fromSandboxUsage(record, usage, containers);
}
