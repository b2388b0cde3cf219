import { afterAll, beforeAll, expect, test } from 'vitest';
import { ContainerEventType, type Metric } from '../../src/cri/generated/api.js';
import { CriRig } from './cri-rig.js';
import { collected } from './promise-client.js';

/** Names that a kubelet expects; each must have a value, except for the last line's where no block device is seen. */
const NAMES = `
container_cpu_cfs_periods_total container_cpu_cfs_throttled_periods_total container_cpu_cfs_throttled_seconds_total
container_cpu_system_seconds_total container_cpu_usage_seconds_total container_cpu_user_seconds_total
container_file_descriptors container_fs_inodes_free container_fs_inodes_total container_fs_limit_bytes container_fs_usage_bytes
container_last_seen container_memory_cache container_memory_failcnt container_memory_failures_total container_memory_kernel_usage
container_memory_mapped_file container_memory_max_usage_bytes container_memory_rss container_memory_swap container_memory_usage_bytes
container_memory_working_set_bytes container_network_receive_bytes_total container_network_receive_errors_total
container_network_receive_packets_dropped_total container_network_receive_packets_total container_network_transmit_bytes_total
container_network_transmit_errors_total container_network_transmit_packets_dropped_total container_network_transmit_packets_total
container_oom_events_total container_processes container_sockets container_spec_cpu_period container_spec_cpu_shares
container_spec_memory_limit_bytes container_spec_memory_swap_limit_bytes container_start_time_seconds container_threads
container_threads_max container_hugetlb_max_usage_bytes container_hugetlb_usage_bytes container_pressure_cpu_stalled_seconds_total
container_pressure_cpu_waiting_seconds_total container_pressure_io_stalled_seconds_total
container_pressure_io_waiting_seconds_total container_pressure_memory_stalled_seconds_total
container_pressure_memory_waiting_seconds_total container_spec_cpu_quota container_spec_memory_reservation_limit_bytes
container_ulimits_soft`
  .trim()
  .split(/\s+/);
const OF_DEVICES =
  `container_blkio_device_usage_total container_fs_reads_bytes_total container_fs_writes_bytes_total
container_fs_reads_total container_fs_writes_total`.split(/\s+/);

let rig: CriRig;
beforeAll(async () => {
  rig = await CriRig.open();
  await rig.pull();
});
afterAll(() => rig.close());

test('every one of the 56 metrics has a description, and values with as many labels', async () => {
  const podSandboxId = await rig.runSandbox('metrics');
  const containerId = await rig.createContainer(podSandboxId, 'app', {
    linux: {
      resources: {
        cpuPeriod: 100_000n,
        cpuQuota: 20_000n,
        cpuShares: 1024n,
        memoryLimitInBytes: 67_108_864n,
        memorySwapLimitInBytes: 67_108_864n,
      },
    },
  });
  await rig.runtime.call('startContainer', { containerId });
  const { descriptors } = await rig.runtime.call('listMetricDescriptors', {});
  expect(descriptors.map(({ name }) => name).sort()).toEqual([...NAMES, ...OF_DEVICES].sort());
  expect(
    descriptors.filter(({ help, labelKeys }) => help === '' || labelKeys.length === 0),
  ).toEqual([]);
  const { podMetrics } = await rig.runtime.call('listPodSandboxMetrics', {});
  const streamed = await collected(rig.runtime.client.streamPodSandboxMetrics({}));
  expect(streamed.flatMap(({ podSandboxMetrics }) => podSandboxMetrics)).toHaveLength(1);
  const [pod] = podMetrics;
  expect(pod?.podSandboxId).toBe(podSandboxId);
  const metrics: Metric[] = [
    ...(pod?.metrics ?? []),
    ...(pod?.containerMetrics ?? []).flatMap((each) => each.metrics),
  ];
  const keys = new Map(descriptors.map(({ name, labelKeys }) => [name, labelKeys]));
  for (const { name, labelValues, value, timestamp } of metrics) {
    expect(labelValues, name).toHaveLength(keys.get(name)?.length ?? -1);
    expect(value, name).toBeDefined();
    expect(timestamp).toBeGreaterThan(0n);
  }
  const named = new Set(metrics.map(({ name }) => name));
  expect(NAMES.filter((name) => !named.has(name))).toEqual([]);
  const firstValue = (wanted: string) => metrics.find(({ name }) => name === wanted)?.value?.value;
  expect(firstValue('container_spec_cpu_quota')).toBe(20_000n);
  expect(firstValue('container_spec_memory_limit_bytes')).toBe(67_108_864n);
  expect(firstValue('container_processes')).toBeGreaterThan(0n);
  await rig.runtime.call('removePodSandbox', { podSandboxId });
});

test('events tell the life of a container, each with the state of its pod', async () => {
  const stream = rig.runtime.client.getContainerEvents({});
  const seen: [string, ContainerEventType, string | undefined][] = [];
  const ended = new Promise<void>((resolve) => {
    stream.on('error', () => resolve());
    stream.on('data', (event) => {
      const { containerId, containerEventType, podSandboxStatus } = event;
      seen.push([containerId, containerEventType, podSandboxStatus?.metadata?.name]);
      if (containerEventType === ContainerEventType.CONTAINER_DELETED_EVENT) {
        if (containerId === podSandboxStatus?.id) stream.cancel();
      }
    });
  });
  // From then on no event is missed.
  await new Promise((resolve) => stream.once('metadata', resolve));
  const podSandboxId = await rig.runSandbox('events');
  const containerId = await rig.createContainer(podSandboxId, 'app');
  await rig.runtime.call('startContainer', { containerId });
  await rig.runtime.call('stopContainer', { containerId, timeout: 10n });
  await rig.runtime.call('removeContainer', { containerId });
  await rig.runtime.call('removePodSandbox', { podSandboxId });
  await ended;
  const { CONTAINER_CREATED_EVENT, CONTAINER_STARTED_EVENT } = ContainerEventType;
  const { CONTAINER_STOPPED_EVENT, CONTAINER_DELETED_EVENT } = ContainerEventType;
  const life = [
    CONTAINER_CREATED_EVENT,
    CONTAINER_STARTED_EVENT,
    CONTAINER_STOPPED_EVENT,
    CONTAINER_DELETED_EVENT,
  ];
  for (const id of [containerId, podSandboxId]) {
    expect(seen.filter(([of]) => of === id).map(([, type]) => type)).toEqual(life);
  }
  expect(new Set(seen.map(([, , name]) => name))).toEqual(new Set(['events']));
});

test('statistics of a pod hold those of its containers', async () => {
  const podSandboxId = await rig.runSandbox('stats');
  const containerId = await rig.createContainer(podSandboxId, 'app');
  await rig.runtime.call('startContainer', { containerId });
  const { stats } = await rig.runtime.call('podSandboxStats', { podSandboxId });
  expect(stats?.attributes).toMatchObject({ id: podSandboxId, metadata: { name: 'stats' } });
  expect(stats?.linux?.network?.defaultInterface?.name).toBe('eth0');
  expect(stats?.linux?.process?.processCount?.value).toBeGreaterThan(0n);
  expect(stats?.linux?.containers).toMatchObject([{ attributes: { id: containerId } }]);
  const byLabel = async (labelSelector: Record<string, string>) => {
    const filter = { id: '', podSandboxId: '', labelSelector };
    const found = await rig.runtime.call('listContainerStats', { filter });
    const streamed = await collected(rig.runtime.client.streamContainerStats({ filter }));
    const ids = found.stats.map(({ attributes }) => attributes?.id);
    expect(streamed.flatMap(({ containerStats }) => containerStats)).toHaveLength(ids.length);
    return ids;
  };
  expect(await byLabel({ container: 'app' })).toEqual([containerId]);
  expect(await byLabel({ container: 'other' })).toEqual([]);
  const { stats: pods } = await rig.runtime.call('listPodSandboxStats', { filter: undefined });
  expect(pods).toHaveLength(1);
  await rig.runtime.call('removePodSandbox', { podSandboxId });
});
