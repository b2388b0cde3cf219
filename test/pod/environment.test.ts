import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ContainerSpec } from '../../src/objects/container-schema.js';
import {
  applyPodDefaults,
  defaultPullPolicy,
  type PodContainer,
} from '../../src/objects/defaults.js';
import { RestartBackoff } from '../../src/pod/backoff.js';
import { podDns } from '../../src/pod/dns.js';
import { containerEnvironment } from '../../src/pod/environment.js';
import { expandVariables } from '../../src/pod/expansion.js';
import { podHostname } from '../../src/pod/hostname.js';
import { formatDuration } from '../../src/pod/pull-policy.js';

describe('expandVariables()', () => {
  const known: Readonly<Record<string, string>> = { B: 'x', 'odd name': 'y', SELF: '$(B)' };
  test.each([
    ['$(B)', 'x'],
    ['$(B)-$$(B)-$(NOPE)-$', 'x-$(B)-$(NOPE)-$'],
    ['$$$(B)', '$x'],
    ['$B', '$B'],
    ['$(B', '$(B'],
    ['$()', '$()'],
    ['$(odd name)', 'y'],
    ['$(SELF)', '$(B)'],
    ['a$', 'a$'],
    ['$$', '$'],
  ])('%s is %s', (text, expected) => {
    expect(expandVariables(text, (name) => known[name])).toBe(expected);
  });

  test('leaves text without a dollar alone', () => {
    fc.assert(
      fc.property(
        fc.string().filter((text) => !text.includes('$')),
        (text) => expandVariables(text, () => 'z') === text,
      ),
    );
  });
});

describe('containerEnvironment()', () => {
  const facts = {
    uid: 'u-1',
    podIps: ['10.88.0.2'],
    hostIps: ['192.0.2.1', '2001:db8::1'],
    nodeName: 'node',
    nodeCpus: 4,
    nodeMemoryBytes: 8 * 2 ** 30,
  };

  function environmentOf(container: Partial<ContainerSpec>) {
    const pod = applyPodDefaults(
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'web', labels: { app: 'a' } },
        spec: { containers: [{ name: 'c', image: 'i:1', ...container }] },
      },
      { restartPolicy: 'Never' },
    );
    return containerEnvironment(pod.spec.containers[0] as PodContainer, { pod, facts });
  }

  test('an entry sees those above it, not those below', () => {
    const env = [
      { name: 'A', value: '$(B)' },
      { name: 'B', value: 'x' },
      { name: 'C', value: '$(B)-$$(B)-$(NOPE)-$' },
    ];
    expect(environmentOf({ env }).env).toEqual([
      ['A', '$(B)'],
      ['B', 'x'],
      ['C', 'x-$(B)-$(NOPE)-$'],
    ]);
  });

  test('the last entry of a name wins, and command and arguments see it', () => {
    const env = [
      { name: 'A', value: '1' },
      { name: 'A', value: '$(A)2' },
    ];
    expect(environmentOf({ env, command: ['$(A)'], args: ['$(PATH)'] })).toEqual({
      env: [['A', '12']],
      command: ['12'],
      args: ['$(PATH)'],
    });
  });

  test('hands values over unchanged', () => {
    expect(environmentOf({ env: [{ name: 'A', value: 'a=b\nc' }, { name: 'E' }] }).env).toEqual([
      ['A', 'a=b\nc'],
      ['E', ''],
    ]);
  });

  test.each([
    ['metadata.name', 'web'],
    ['metadata.namespace', 'default'],
    ['metadata.uid', 'u-1'],
    ["metadata.labels['app']", 'a'],
    ["metadata.labels['constructor']", ''],
    ["metadata.annotations['none']", ''],
    ['spec.nodeName', 'node'],
    ['status.podIP', '10.88.0.2'],
    ['status.hostIPs', '192.0.2.1,2001:db8::1'],
  ])('fieldRef %s is %s', (fieldPath, expected) => {
    const env = [{ name: 'A', valueFrom: { fieldRef: { fieldPath } } }];
    expect(environmentOf({ env }).env).toEqual([['A', expected]]);
  });

  test.each([
    ['limits.cpu', '1', '1'],
    ['limits.cpu', '1m', '250'],
    ['limits.memory', '1Mi', '64'],
    ['requests.memory', undefined, '67108864'],
    ['requests.cpu', '0', '1'],
  ] as const)('resourceFieldRef %s by %s is %s', (resource, divisor, expected) => {
    const env = [{ name: 'A', valueFrom: { resourceFieldRef: { resource, divisor } } }];
    const resources = { limits: { cpu: '250m', memory: '64Mi' } };
    expect(environmentOf({ env, resources }).env).toEqual([['A', expected]]);
  });

  test('a missing limit is what the node has, a missing request is nothing', () => {
    const env = [
      { name: 'L', valueFrom: { resourceFieldRef: { resource: 'limits.cpu' as const } } },
      { name: 'R', valueFrom: { resourceFieldRef: { resource: 'requests.cpu' as const } } },
    ];
    expect(environmentOf({ env }).env).toEqual([
      ['L', '4'],
      ['R', '0'],
    ]);
  });
});

test.each([
  ['a', 'Always'],
  ['a:latest', 'Always'],
  ['a:1', 'IfNotPresent'],
  [`a@sha256:${'0'.repeat(64)}`, 'IfNotPresent'],
  [`a:latest@sha256:${'0'.repeat(64)}`, 'Always'],
  ['UPPER', 'IfNotPresent'],
])('the pull policy of %s is %s by default', (image, policy) => {
  expect(defaultPullPolicy(image)).toBe(policy);
});

test('podHostname() cuts at 63 characters and drops a trailing dash', () => {
  expect(podHostname('web', undefined)).toBe('web');
  expect(podHostname('web', 'other')).toBe('other');
  expect(podHostname(`${'a'.repeat(62)}-bcdefgh`, undefined)).toBe('a'.repeat(62));
});

test('RestartBackoff doubles from 10 s to 300 s, and starts over after ten minutes', () => {
  const backoff = new RestartBackoff();
  const delays = Array.from({ length: 8 }, () => backoff.next(1000));
  expect(delays).toEqual([0, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
  expect(backoff.next(600_001)).toBe(0);
});

test.each([
  [0, '0s'],
  [45.9, '45ms'],
  [1234, '1.234s'],
  [123_500, '2m3.5s'],
  [300_000, '5m0s'],
  [3_600_000, '1h0m0s'],
])('formatDuration(%d) is %s', (milliseconds, text) => {
  expect(formatDuration(milliseconds)).toBe(text);
});

describe('podDns()', () => {
  const node = 'nameserver 1.1.1.1\nsearch a b\nsearch c\noptions ndots:2 timeout:1\n';
  test("is the node's own, with what dnsConfig adds", () => {
    const dnsConfig = {
      nameservers: ['9.9.9.9', '1.1.1.1'],
      searches: ['d'],
      options: [{ name: 'ndots', value: '5' }, { name: 'rotate' }],
    };
    expect(podDns({ dnsConfig }, node)).toEqual({
      servers: ['1.1.1.1', '9.9.9.9'],
      searches: ['c', 'd'],
      options: ['ndots:5', 'timeout:1', 'rotate'],
    });
  });

  test('is only dnsConfig under None', () => {
    const spec = { dnsPolicy: 'None' as const, dnsConfig: { nameservers: ['9.9.9.9'] } };
    expect(podDns(spec, node)).toEqual({ servers: ['9.9.9.9'], searches: [], options: [] });
  });
});
