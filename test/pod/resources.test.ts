import { describe, expect, test } from 'vitest';
import type { ContainerResources } from '../../src/objects/container-schema.js';
import { applyPodDefaults } from '../../src/objects/defaults.js';
import { containerResources, podResources, qosClass } from '../../src/pod/resources.js';

function podOf(...resources: readonly (ContainerResources | undefined)[]) {
  return applyPodDefaults(
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'web' },
      spec: {
        containers: resources.map((one, index) => ({
          name: `c${index}`,
          image: 'i',
          ...(one === undefined ? {} : { resources: one }),
        })),
      },
    },
    { restartPolicy: 'Never' },
  );
}

function ofFirst(...resources: readonly (ContainerResources | undefined)[]) {
  const pod = podOf(...resources);
  return containerResources(pod.spec.containers[0]?.resources, {
    qos: qosClass(pod),
    nodeMemoryBytes: 2 ** 30,
  });
}

describe('containerResources()', () => {
  test('computes shares, quota and memory as the kubelet does', () => {
    const resources = {
      requests: { cpu: '250m', memory: '100Mi' },
      limits: { cpu: '500m', memory: '128Mi' },
    };
    expect(ofFirst(resources)).toEqual({
      cpuShares: 256,
      cpuQuotaMicros: 50_000,
      cpuPeriodMicros: 100_000,
      memoryLimitBytes: 128 * 2 ** 20,
      memorySwapLimitBytes: 128 * 2 ** 20,
      oomScoreAdj: 1000 - Math.floor((1000 * 100) / 1024),
    });
  });

  test('takes the request from the limit when there is none', () => {
    expect(ofFirst({ limits: { cpu: 2 } })).toMatchObject({ cpuShares: 2048 });
  });

  test('gives the least shares and no limit to a container that asks for nothing', () => {
    expect(ofFirst(undefined)).toEqual({ cpuShares: 2, oomScoreAdj: 1000 });
  });

  test('keeps to the smallest quota that the kernel takes', () => {
    expect(ofFirst({ limits: { cpu: '1m' } })).toMatchObject({
      cpuShares: 2,
      cpuQuotaMicros: 1000,
    });
  });
});

describe('qosClass()', () => {
  const guaranteed = { limits: { cpu: 1, memory: '1Gi' } };
  test.each([
    ['BestEffort', [undefined, undefined]],
    ['Guaranteed', [guaranteed, guaranteed]],
    ['Burstable', [guaranteed, undefined]],
    ['Burstable', [{ requests: { cpu: '1m' } }]],
  ] as const)('is %s', (expected, resources) => {
    expect(qosClass(podOf(...resources))).toBe(expected);
  });
});

describe('podResources()', () => {
  test('adds up, and limits only what every container limits', () => {
    const one = { limits: { cpu: '500m', memory: '64Mi' } };
    expect(podResources(podOf(one, { limits: { cpu: 1 } }))).toEqual({
      cpuShares: 1536,
      cpuQuotaMicros: 150_000,
      cpuPeriodMicros: 100_000,
    });
    expect(podResources(podOf(one, one))).toMatchObject({ memoryLimitBytes: 128 * 2 ** 20 });
  });
});
