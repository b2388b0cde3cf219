import { describe, expect, it } from 'vitest';
import { cgroupResources, checkResources, specResources } from '../../src/runtime/resources.js';

describe('checkResources()', () => {
  it('accepts what the CRI sends', () => {
    checkResources({
      cpuShares: 2,
      cpuQuotaMicros: -1,
      cpuPeriodMicros: 100_000,
      cpusetCpus: '0-1,3',
      cpusetMems: '',
      memoryLimitBytes: 64 * 2 ** 20,
      memorySwapLimitBytes: -1,
      pidsLimit: -1,
      unified: { 'memory.high': 'max' },
      oomScoreAdj: -997,
      hugepageLimits: [{ pageSize: '2MB', limitBytes: 0 }],
    });
  });

  it.each([
    { cpuShares: 1 },
    { cpuQuotaMicros: 999 },
    { cpuPeriodMicros: 1_000_001 },
    { cpusetCpus: '../x' },
    { cpusetCpus: '0\n1' },
    { memoryLimitBytes: 1024 },
    { memoryLimitBytes: 1.5e6 + 0.5 },
    { memoryLimitBytes: Number.NaN },
    { pidsLimit: 0 },
    { oomScoreAdj: 1001 },
    { hugepageLimits: [{ pageSize: '../2MB', limitBytes: 1 }] },
    { hugepageLimits: [{ pageSize: '2MB', limitBytes: -1 }] },
    { unified: { '../../cgroup.procs': '1' } },
    { unified: { 'memory.max/x': '1' } },
  ])('refuses %j', (resources) => {
    expect(() => checkResources(resources)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
  });
});

it('limits survive the way through the OCI configuration, with device rules added', () => {
  const asked = {
    cpuShares: 512,
    cpuQuotaMicros: 50_000,
    cpuPeriodMicros: 100_000,
    memoryLimitBytes: 2 ** 26,
    pidsLimit: 100,
  };
  const { devices, ...limits } = cgroupResources(specResources(asked, { privileged: false }));
  expect(limits).toEqual(asked);
  expect(devices?.[0]).toEqual({ allow: false, type: 'a', major: -1, minor: -1, access: 'rwm' });
  expect(devices).toContainEqual({ allow: true, type: 'c', major: 136, minor: -1, access: 'rwm' });
});
