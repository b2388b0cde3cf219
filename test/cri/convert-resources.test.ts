import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromContainerResources, toContainerResources } from '../../src/cri/convert-resources.js';
import { LinuxContainerResources } from '../../src/cri/generated/api.js';

describe('resources', () => {
  test('leave out what is not set, and tolerate huge pages without a limit', () => {
    const limit = 2n ** 64n - 1n;
    const message = LinuxContainerResources.fromPartial({
      cpuShares: 2n,
      hugepageLimits: [{ pageSize: '1GB', limit }],
    });
    expect(toContainerResources(message)).toEqual({
      cpuShares: 2,
      oomScoreAdj: 0,
      hugepageLimits: [{ pageSize: '1GB', limitBytes: Number.MAX_SAFE_INTEGER }],
    });
    expect(toContainerResources(undefined)).toEqual({});
  });

  test('come back as they went', () => {
    const int = fc.integer({ min: 0, max: 2 ** 40 }).map(BigInt);
    const resources = fc.record({
      cpuPeriod: int,
      cpuQuota: int,
      cpuShares: int,
      memoryLimitInBytes: int,
      oomScoreAdj: fc.integer({ min: -1000, max: 1000 }).map(BigInt),
      cpusetCpus: fc.constantFrom('', '0-3'),
      cpusetMems: fc.constantFrom('', '0'),
      hugepageLimits: fc.array(fc.record({ pageSize: fc.constantFrom('2MB', '1GB'), limit: int })),
      unified: fc.dictionary(fc.constantFrom('memory.high', 'pids.max'), fc.string()),
      memorySwapLimitInBytes: int,
    });
    fc.assert(
      fc.property(resources, (message) => {
        const back = fromContainerResources(toContainerResources(message));
        expect(LinuxContainerResources.fromPartial(back)).toEqual(
          LinuxContainerResources.fromPartial(message),
        );
      }),
    );
  });
});
