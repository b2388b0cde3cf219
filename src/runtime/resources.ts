import { InvalidArgumentError } from '../errors.js';
import type { CgroupResources, DeviceRule } from '../native.js';
import type { ContainerResources } from './container-config.js';
import type { SpecDeviceRule, SpecResources } from './oci-spec.js';

/** The kernel refuses to run anything in less; a clear error instead of a container that dies at once. */
const MEMORY_MIN_BYTES = 512 * 1024;

/**
 * Checks limits that a caller gave: units and ranges that the kernel would refuse later with EINVAL.
 * @throws InvalidArgumentError naming the field.
 */
export function checkResources(resources: ContainerResources): void {
  const range = (name: keyof ContainerResources, low: number, high: number, extra?: number) => {
    const value = resources[name];
    if (value === undefined || value === extra) return;
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < low || value > high) {
      const or = extra === undefined ? '' : ` or ${extra}`;
      throw new InvalidArgumentError(
        `Resource "${name}": expected an integer from ${low} to ${high}${or}, received ${String(value)}`,
      );
    }
  };
  range('cpuShares', 2, 262_144, 0);
  range('cpuQuotaMicros', 1000, Number.MAX_SAFE_INTEGER, -1);
  range('cpuPeriodMicros', 1000, 1_000_000);
  range('memoryLimitBytes', MEMORY_MIN_BYTES, Number.MAX_SAFE_INTEGER, -1);
  range('memorySwapLimitBytes', MEMORY_MIN_BYTES, Number.MAX_SAFE_INTEGER, -1);
  range('pidsLimit', 1, 4_194_304, -1);
  range('oomScoreAdj', -1000, 1000);
  for (const name of ['cpusetCpus', 'cpusetMems'] as const) {
    const value = resources[name];
    if (value !== undefined && !/^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$/.test(value)) {
      throw new InvalidArgumentError(
        `Resource "${name}": expected a list such as "0-2,4", received ${JSON.stringify(value.slice(0, 100))}`,
      );
    }
  }
  for (const { pageSize, limitBytes } of resources.hugepageLimits ?? []) {
    // The size becomes part of a file's name.
    if (!/^[1-9][0-9]{0,5}[KMGT]B$/.test(pageSize)) {
      throw new InvalidArgumentError(
        `Resource "hugepageLimits": expected a page size such as "2MB", received ${JSON.stringify(pageSize.slice(0, 100))}`,
      );
    }
    if (!Number.isSafeInteger(limitBytes) || limitBytes < 0) {
      throw new InvalidArgumentError(
        `Resource "hugepageLimits": expected a number of bytes for ${pageSize}, received ${limitBytes}`,
      );
    }
  }
  for (const [file, value] of Object.entries(resources.unified ?? {})) {
    // The name becomes a file below the cgroup: no separator, no "..".
    if (!/^[a-z0-9_]+(\.[a-z0-9_]+)+$/i.test(file) || value.includes('\0')) {
      throw new InvalidArgumentError(
        `Resource "unified": expected the name of a cgroup v2 file such as "memory.high", received ${JSON.stringify(file.slice(0, 100))}`,
      );
    }
  }
}

/**
 * Devices that every container may use, as in every other runtime: any node may be made (CAP_MKNOD), only these may be opened.
 */
const DEFAULT_DEVICE_RULES: readonly DeviceRule[] = [
  { allow: false, type: 'a', major: -1, minor: -1, access: 'rwm' },
  { allow: true, type: 'c', major: -1, minor: -1, access: 'm' },
  { allow: true, type: 'b', major: -1, minor: -1, access: 'm' },
  ...(
    [
      [1, 3], // null
      [1, 5], // zero
      [1, 7], // full
      [1, 8], // random
      [1, 9], // urandom
      [5, 0], // tty
      [5, 1], // console
      [5, 2], // ptmx
      [136, -1], // pts/*
    ] as const
  ).map(([major, minor]): DeviceRule => ({ allow: true, type: 'c', major, minor, access: 'rwm' })),
];

const ALL_DEVICES: readonly DeviceRule[] = [
  { allow: true, type: 'a', major: -1, minor: -1, access: 'rwm' },
];

/** The `linux.resources` of a container with these limits; `devices`: what it may use beyond the usual ones. */
export function specResources(
  resources: ContainerResources,
  options: { readonly privileged: boolean; readonly devices?: readonly SpecDeviceRule[] },
): SpecResources {
  const cpu = defined({
    shares: resources.cpuShares,
    quota: resources.cpuQuotaMicros,
    period: resources.cpuPeriodMicros,
    cpus: resources.cpusetCpus,
    mems: resources.cpusetMems,
  });
  const memory = defined({
    limit: resources.memoryLimitBytes,
    swap: resources.memorySwapLimitBytes,
  });
  const rules = options.privileged ? ALL_DEVICES : DEFAULT_DEVICE_RULES;
  return {
    devices: [
      ...rules.map(({ allow, type, major, minor, access }) => ({
        allow,
        type,
        ...(major >= 0 ? { major } : {}),
        ...(minor >= 0 ? { minor } : {}),
        access,
      })),
      ...(options.privileged ? [] : (options.devices ?? [])),
    ],
    ...(Object.keys(memory).length > 0 ? { memory } : {}),
    ...(Object.keys(cpu).length > 0 ? { cpu } : {}),
    ...(resources.pidsLimit === undefined ? {} : { pids: { limit: resources.pidsLimit } }),
    ...(resources.hugepageLimits === undefined
      ? {}
      : {
          hugepageLimits: resources.hugepageLimits.map(({ pageSize, limitBytes }) => ({
            pageSize,
            limit: limitBytes,
          })),
        }),
    ...(resources.unified === undefined ? {} : { unified: resources.unified }),
  };
}

/** `linux.resources` back in the units of the native boundary. */
export function cgroupResources(resources: SpecResources): CgroupResources {
  return {
    ...defined({
      cpuShares: resources.cpu?.shares,
      cpuQuotaMicros: resources.cpu?.quota,
      cpuPeriodMicros: resources.cpu?.period,
      cpusetCpus: resources.cpu?.cpus,
      cpusetMems: resources.cpu?.mems,
      memoryLimitBytes: resources.memory?.limit,
      memorySwapLimitBytes: resources.memory?.swap,
      pidsLimit: resources.pids?.limit,
      unified: resources.unified,
      hugepageLimits: resources.hugepageLimits?.map(({ pageSize, limit }) => ({
        pageSize,
        limitBytes: limit,
      })),
    }),
    devices: resources.devices.map((rule) => ({
      allow: rule.allow,
      type: rule.type,
      major: rule.major ?? -1,
      minor: rule.minor ?? -1,
      access: rule.access,
    })),
  };
}

/** The entries that have a value: an absent limit is not the same as one set to undefined. */
function defined<T extends object>(entries: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const kept = Object.entries(entries).filter(([, value]) => value !== undefined);
  return Object.fromEntries(kept) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
