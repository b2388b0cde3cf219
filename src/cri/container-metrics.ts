import type { DeviceIo, Pressure } from '../cgroup-stats.js';
import type { ContainerStats } from '../container/container-stats.js';
import type { ContainerRecord } from '../container/state.js';
import { counter, gauge, type MetricDefinition, type MetricValue } from './metric-definition.js';

/** What the metrics of a container are made from. */
export interface ContainerSource {
  readonly record: ContainerRecord;
  readonly usage: ContainerStats;
}

type Definition = MetricDefinition<ContainerSource>;

const seconds = (nanos: number) => nanos / 1e9;
const cgroup = ({ usage }: ContainerSource) => usage.cgroup;
const limits = ({ record }: ContainerSource) => record.config.resources;
const layer = ({ usage }: ContainerSource) => usage.writableLayer;
/** A limit that is not set counts as 0. */
const limit = (value: number | undefined) => Math.max(0, value ?? 0);

const CPU: readonly Definition[] = [
  {
    ...counter<ContainerSource>(
      'container_cpu_usage_seconds_total',
      'Processor time used, in seconds.',
      () => 0,
    ),
    labelKeys: ['cpu'],
    read: (source) => [{ labels: ['total'], value: seconds(cgroup(source).cpuUsageNanos) }],
  },
  counter(
    'container_cpu_user_seconds_total',
    'Processor time in user mode, in seconds.',
    (source) => seconds(cgroup(source).cpuUserNanos),
  ),
  counter(
    'container_cpu_system_seconds_total',
    'Processor time in kernel mode, in seconds.',
    (source) => seconds(cgroup(source).cpuSystemNanos),
  ),
  counter(
    'container_cpu_cfs_periods_total',
    'Periods of the processor quota that have passed.',
    (source) => cgroup(source).cpuPeriods,
  ),
  counter(
    'container_cpu_cfs_throttled_periods_total',
    'Periods in which the processor quota ran out.',
    (source) => cgroup(source).cpuThrottledPeriods,
  ),
  counter(
    'container_cpu_cfs_throttled_seconds_total',
    'Time spent waiting for the next period, in seconds.',
    (source) => seconds(cgroup(source).cpuThrottledNanos),
  ),
];

const MEMORY: readonly Definition[] = [
  gauge(
    'container_memory_usage_bytes',
    'Memory in use, file pages included.',
    (source) => cgroup(source).memoryUsageBytes,
  ),
  gauge(
    'container_memory_working_set_bytes',
    'Memory in use without file pages that could be given up.',
    (source) => cgroup(source).memoryWorkingSetBytes,
  ),
  gauge(
    'container_memory_rss',
    'Anonymous memory, in bytes.',
    (source) => cgroup(source).memoryRssBytes,
  ),
  gauge(
    'container_memory_cache',
    'File pages, in bytes.',
    (source) => cgroup(source).memoryCacheBytes,
  ),
  gauge(
    'container_memory_mapped_file',
    'Mapped file pages, in bytes.',
    (source) => cgroup(source).memoryMappedFileBytes,
  ),
  gauge(
    'container_memory_kernel_usage',
    'Memory of the kernel, in bytes.',
    (source) => cgroup(source).memoryKernelBytes,
  ),
  gauge(
    'container_memory_swap',
    'Swap space in use, in bytes.',
    (source) => cgroup(source).memorySwapBytes,
  ),
  gauge(
    'container_memory_max_usage_bytes',
    'The most memory that was ever in use.',
    (source) => cgroup(source).memoryMaxUsageBytes,
  ),
  counter(
    'container_memory_failcnt',
    'How often the memory limit was met.',
    (source) => cgroup(source).memoryFailures,
  ),
  {
    name: 'container_memory_failures_total',
    help: 'Page faults, those that needed the disk apart.',
    kind: 'counter',
    labelKeys: ['failure_type', 'scope'],
    read: (source) => {
      const { pageFaults, majorPageFaults } = cgroup(source);
      return ['container', 'hierarchy'].flatMap((scope) => [
        { labels: ['pgfault', scope], value: pageFaults },
        { labels: ['pgmajfault', scope], value: majorPageFaults },
      ]);
    },
  },
  counter(
    'container_oom_events_total',
    'Processes killed for want of memory.',
    (source) => cgroup(source).oomKills,
  ),
  hugepages('container_hugetlb_usage_bytes', 'Huge pages in use, in bytes.', 'usageBytes'),
  hugepages(
    'container_hugetlb_max_usage_bytes',
    'The most huge pages that were ever in use, in bytes.',
    'maxUsageBytes',
  ),
];

const FILES: readonly Definition[] = [
  filesystem(
    'container_fs_usage_bytes',
    'Bytes in the writable layer.',
    (source) => layer(source)?.usedBytes,
  ),
  filesystem(
    'container_fs_limit_bytes',
    'Size of the file system that holds the writable layer, in bytes.',
    (source) => layer(source)?.filesystem.sizeBytes,
  ),
  filesystem(
    'container_fs_inodes_total',
    'Inodes of that file system.',
    (source) => layer(source)?.filesystem.inodes,
  ),
  filesystem(
    'container_fs_inodes_free',
    'Free inodes of that file system.',
    (source) => layer(source)?.filesystem.freeInodes,
  ),
  device('container_fs_reads_total', 'Reads from block devices.', ({ reads }) => reads),
  device('container_fs_writes_total', 'Writes to block devices.', ({ writes }) => writes),
  device(
    'container_fs_reads_bytes_total',
    'Bytes read from block devices.',
    ({ readBytes }) => readBytes,
  ),
  device(
    'container_fs_writes_bytes_total',
    'Bytes written to block devices.',
    ({ writeBytes }) => writeBytes,
  ),
  {
    name: 'container_blkio_device_usage_total',
    help: 'Bytes moved from and to block devices.',
    kind: 'counter',
    labelKeys: ['device', 'major', 'minor', 'operation'],
    read: (source) =>
      cgroup(source).devices.flatMap(({ name, major, minor, readBytes, writeBytes }) => {
        const labels = [name, String(major), String(minor)];
        return [
          { labels: [...labels, 'Read'], value: readBytes },
          { labels: [...labels, 'Write'], value: writeBytes },
        ];
      }),
  },
];

const PROCESSES: readonly Definition[] = [
  gauge('container_processes', 'Processes.', (source) => cgroup(source).processes?.processes ?? 0),
  gauge('container_threads', 'Threads.', (source) => cgroup(source).pids),
  gauge('container_threads_max', 'Limit of threads; 0: none.', (source) =>
    limit(cgroup(source).pidsLimit),
  ),
  gauge(
    'container_file_descriptors',
    'Open descriptors, sockets included.',
    (source) => cgroup(source).processes?.descriptors ?? 0,
  ),
  gauge('container_sockets', 'Open sockets.', (source) => cgroup(source).processes?.sockets ?? 0),
  {
    name: 'container_ulimits_soft',
    help: 'Soft limits of the first process; 0: none.',
    kind: 'gauge',
    labelKeys: ['ulimit'],
    read: (source) => [
      {
        labels: ['max_open_files'],
        value: limit(cgroup(source).processes?.openFilesSoftLimit),
      },
    ],
  },
];

const LIFE: readonly Definition[] = [
  gauge('container_start_time_seconds', 'When it was started, in seconds since 1970.', (source) =>
    seconds(Number(source.record.startedAtNanos ?? 0)),
  ),
  gauge('container_last_seen', 'When these numbers were read, in seconds since 1970.', (source) =>
    seconds(Number(source.usage.atNanos)),
  ),
  gauge('container_spec_cpu_period', 'Period of the processor quota, in microseconds.', (source) =>
    limit(limits(source).cpuPeriodMicros),
  ),
  gauge('container_spec_cpu_quota', 'Processor quota, in microseconds; 0: none.', (source) =>
    limit(limits(source).cpuQuotaMicros),
  ),
  gauge('container_spec_cpu_shares', 'Weight of the processor.', (source) =>
    limit(limits(source).cpuShares),
  ),
  gauge('container_spec_memory_limit_bytes', 'Memory limit; 0: none.', (source) =>
    limit(limits(source).memoryLimitBytes),
  ),
  gauge(
    'container_spec_memory_swap_limit_bytes',
    'Limit of memory and swap together; 0: none.',
    (source) => limit(limits(source).memorySwapLimitBytes),
  ),
  gauge(
    'container_spec_memory_reservation_limit_bytes',
    'Memory that is kept for it when memory is short; 0: none.',
    (source) => Number(/^[0-9]+$/.exec(limits(source).unified?.['memory.low'] ?? '')?.[0] ?? 0),
  ),
];

const PRESSURE: readonly Definition[] = [
  ...pressure('cpu', 'processor', (source) => cgroup(source).cpuPressure),
  ...pressure('memory', 'memory', (source) => cgroup(source).memoryPressure),
  ...pressure('io', 'disk', (source) => cgroup(source).ioPressure),
];

/** Every metric of a container. */
export const CONTAINER_METRICS: readonly Definition[] = [
  ...CPU,
  ...MEMORY,
  ...FILES,
  ...PROCESSES,
  ...LIFE,
  ...PRESSURE,
];

/** 0 where the kernel does not measure it: a metric that is described must have a value. */
function pressure(
  name: string,
  resource: string,
  read: (source: ContainerSource) => Pressure | undefined,
): Definition[] {
  const total = (line: 'some' | 'full') => (source: ContainerSource) =>
    (read(source)?.[line].totalMicros ?? 0) / 1e6;
  return [
    counter(
      `container_pressure_${name}_waiting_seconds_total`,
      `Time in which a task waited for the ${resource}, in seconds.`,
      total('some'),
    ),
    counter(
      `container_pressure_${name}_stalled_seconds_total`,
      `Time in which all tasks waited for the ${resource}, in seconds.`,
      total('full'),
    ),
  ];
}

function hugepages(name: string, help: string, field: 'usageBytes' | 'maxUsageBytes'): Definition {
  const none: readonly MetricValue[] = [{ labels: ['2MB'], value: 0 }];
  return {
    name,
    help,
    kind: 'gauge',
    labelKeys: ['pagesize'],
    read: (source) => {
      const sizes = cgroup(source).hugepages;
      // Without the controller nobody here can use any.
      if (sizes.length === 0) return none;
      return sizes.map((size) => ({ labels: [size.pageSize], value: size[field] }));
    },
  };
}

function filesystem(
  name: string,
  help: string,
  read: (source: ContainerSource) => number | undefined,
): Definition {
  return {
    name,
    help,
    kind: 'gauge',
    labelKeys: ['device'],
    read: (source) => [{ labels: [layer(source)?.mountpoint ?? ''], value: read(source) ?? 0 }],
  };
}

function device(name: string, help: string, read: (device: DeviceIo) => number): Definition {
  return {
    name,
    help,
    kind: 'counter',
    labelKeys: ['device'],
    read: (source) =>
      cgroup(source).devices.map((each) => ({ labels: [each.name], value: read(each) })),
  };
}
