import type { CgroupNumbers, ContainerEvent, CriEngine, Usage } from '../../src/cri/cri-engine.js';
import type { Engine } from '../../src/engine.js';

export const NUMBERS: CgroupNumbers = {
  cpuUsageNanos: 3e9,
  cpuUserNanos: 2e9,
  cpuSystemNanos: 1e9,
  cpuPeriods: 10,
  cpuThrottledPeriods: 1,
  cpuThrottledNanos: 5e9,
  memoryUsageBytes: 4096,
  memoryWorkingSetBytes: 2048,
  memoryLimitBytes: -1,
  memoryRssBytes: 1024,
  memoryCacheBytes: 512,
  memoryMappedFileBytes: 256,
  memoryKernelBytes: 128,
  memorySwapBytes: 0,
  memoryMaxUsageBytes: 8192,
  memoryFailures: 0,
  pageFaults: 7,
  majorPageFaults: 2,
  pids: 3,
  pidsLimit: -1,
  oomKills: 0,
  devices: [
    { name: 'vda', major: 254, minor: 0, readBytes: 1, writeBytes: 2, reads: 3, writes: 4 },
  ],
  hugepages: [],
};

export function usage(): Usage {
  return { atNanos: BigInt(Date.now()) * 1_000_000n, cgroup: NUMBERS, cpuUsageNanoCores: 5 };
}

/** An engine whose parts that this checkout has not are replaced by simple ones; those that it has are used. */
export function withFallbacks(engine: Engine): CriEngine {
  const parts = {
    config: engine.config,
    sandboxes: filled(engine.sandboxes, {
      stats: async () => ({
        ...usage(),
        network: [
          {
            name: 'eth0',
            rxBytes: 1,
            rxPackets: 2,
            rxErrors: 3,
            rxDropped: 4,
            txBytes: 5,
            txPackets: 6,
            txErrors: 7,
            txDropped: 8,
          },
        ],
      }),
    }),
    containers: filled(engine.containers, {
      stats: async () => usage(),
      exec: async (_id: string, { command }: { command: readonly string[] }) => ({
        exitCode: 0,
        stdout: Buffer.from(command.join(' ')),
        stderr: Buffer.alloc(0),
      }),
      updateResources: async () => undefined,
      reopenLog: async () => undefined,
    }),
    images: filled(engine.images, {
      fsInfo: async () => ({
        images: { mountpoint: engine.config.root, usedBytes: 1, usedInodes: 1, atNanos: 1n },
        containers: { mountpoint: engine.config.root, usedBytes: 1, usedInodes: 1, atNanos: 1n },
      }),
    }),
  };
  const fallbacks = {
    networkStatus: () => ({ ready: true, reason: '', message: '' }),
    runtimeHandlers: () => [
      {
        name: 'native',
        isDefault: true,
        features: { recursiveReadOnlyMounts: true, userNamespaces: false },
      },
    ],
    events: { subscribe: nothing },
  };
  return filled({ ...parts, ...membersOf(engine, Object.keys(fallbacks)) }, fallbacks) as CriEngine;
}

async function* nothing({ signal }: { signal: AbortSignal }): AsyncGenerator<ContainerEvent> {
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}

function membersOf(engine: Engine, names: readonly string[]): object {
  const entries = names
    .map((name): [string, unknown] => [name, Reflect.get(engine, name)])
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => [name, typeof value === 'function' ? value.bind(engine) : value]);
  return Object.fromEntries(entries);
}

/** `target`, and where it has no member of a name, that of `fallbacks`. */
function filled<T extends object, F extends object>(target: T, fallbacks: F): T & F {
  return new Proxy(target, {
    get(_target, name) {
      const owner = name in target ? target : fallbacks;
      const value: unknown = Reflect.get(owner, name, owner);
      return typeof value === 'function' ? value.bind(owner) : value;
    },
  }) as T & F;
}
