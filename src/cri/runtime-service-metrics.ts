import type { ContainerRecord } from '../container/state.js';
import type { SandboxRecord } from '../sandbox/sandbox-record.js';
import { CONTAINER_METRICS } from './container-metrics.js';
import type { CriEngine } from './cri-engine.js';
import { listContainers, listSandboxes, whileThere } from './find.js';
import {
  type ContainerMetrics,
  type DeepPartial,
  ListMetricDescriptorsResponse,
  ListPodSandboxMetricsResponse,
  type Metric,
  MetricType,
  type PodSandboxMetrics,
  StreamPodSandboxMetricsResponse,
} from './generated/api.js';
import { mapConcurrently } from './map-concurrently.js';
import { COMMON_LABEL_KEYS, type MetricDefinition } from './metric-definition.js';
import { NETWORK_METRICS } from './network-metrics.js';
import { pieces, type ServiceParts } from './service-parts.js';

/** Calls about metrics. */
export function metricsCalls({ engine, rpc }: ServiceParts) {
  const list = async () => {
    const ready = listSandboxes(engine).filter(({ state }) => state === 'ready');
    const all = await mapConcurrently(ready, (record) =>
      whileThere(sandboxMetrics(engine, record)),
    );
    return all.filter((metrics) => metrics !== undefined);
  };

  return {
    listMetricDescriptors: rpc.unary(ListMetricDescriptorsResponse, () => ({
      descriptors: [...NETWORK_METRICS, ...CONTAINER_METRICS].map(({ name, help, labelKeys }) => ({
        name,
        help,
        labelKeys: [...COMMON_LABEL_KEYS, ...labelKeys],
      })),
    })),

    listPodSandboxMetrics: rpc.unary(ListPodSandboxMetricsResponse, async () => ({
      podMetrics: await list(),
    })),

    streamPodSandboxMetrics: rpc.stream(StreamPodSandboxMetricsResponse, async function* () {
      for (const podSandboxMetrics of pieces(await list())) yield { podSandboxMetrics };
    }),
  };
}

async function sandboxMetrics(
  engine: CriEngine,
  record: SandboxRecord,
): Promise<DeepPartial<PodSandboxMetrics>> {
  const running = listContainers(engine, { sandboxId: record.id }).filter(
    ({ state }) => state === 'running',
  );
  const usage = await engine.sandboxes.stats(record.id, { processes: false });
  const { name, namespace } = record.config;
  const labels = [`/${record.cgroup}`, record.id, '', '', name, namespace];
  const all = await mapConcurrently(running, (container) =>
    whileThere(containerMetrics(engine, container, record)),
  );
  return {
    podSandboxId: record.id,
    metrics: metricsOf(NETWORK_METRICS, { source: usage, labels, timestamp: usage.atNanos }),
    containerMetrics: all.filter((metrics) => metrics !== undefined),
  };
}

async function containerMetrics(
  { containers }: CriEngine,
  record: ContainerRecord,
  { config: { name, namespace } }: SandboxRecord,
): Promise<DeepPartial<ContainerMetrics>> {
  const usage = await containers.stats(record.id, { processes: true });
  const image = record.config.userSpecifiedImage ?? record.config.image;
  const labels = [`/${record.cgroup}`, record.id, image, record.config.name, name, namespace];
  return {
    containerId: record.id,
    metrics: metricsOf(CONTAINER_METRICS, {
      source: { record, usage },
      labels,
      timestamp: usage.atNanos,
    }),
  };
}

function metricsOf<Source>(
  definitions: readonly MetricDefinition<Source>[],
  {
    source,
    labels,
    timestamp,
  }: { readonly source: Source; readonly labels: readonly string[]; readonly timestamp: bigint },
): DeepPartial<Metric>[] {
  return definitions.flatMap(({ name, kind, read }) =>
    read(source).map((each) => ({
      name,
      timestamp,
      metricType: kind === 'counter' ? MetricType.COUNTER : MetricType.GAUGE,
      labelValues: [...labels, ...each.labels],
      value: { value: BigInt(Math.max(0, Math.trunc(each.value))) },
    })),
  );
}
