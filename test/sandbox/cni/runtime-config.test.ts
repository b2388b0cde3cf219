import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InvalidArgumentError, RuntimeError } from '../../../src/errors.js';
import { bandwidthOf } from '../../../src/sandbox/cni/bandwidth.js';
import { parseResult, podAddress } from '../../../src/sandbox/cni/result.js';
import {
  capabilityArguments,
  podArguments,
  requestConfig,
} from '../../../src/sandbox/cni/runtime-config.js';

const pod = { name: 'web', namespace: 'default', uid: '11-22' };

describe('bandwidthOf()', () => {
  test.each([
    ['1k', 1000],
    ['10M', 10_000_000],
    ['1.5Gi', 1_610_612_736],
    ['1e6', 1_000_000],
    ['1P', 1e15],
    ['2000000m', 2000],
  ])('reads %s', (text, rate) => {
    expect(bandwidthOf({ 'kubernetes.io/ingress-bandwidth': text })).toEqual({
      ingressRate: rate,
      ingressBurst: 4_294_967_295,
    });
    expect(bandwidthOf({ 'kubernetes.io/egress-bandwidth': text })).toEqual({
      egressRate: rate,
      egressBurst: 4_294_967_295,
    });
  });

  test.each(['', '1', '999', '2P', '-1M', '1 M', '1mi', 'Infinity', '1e99', '0x10'])(
    'refuses %j',
    (text) => {
      expect(() => bandwidthOf({ 'kubernetes.io/egress-bandwidth': text })).toThrow(
        InvalidArgumentError,
      );
    },
  );

  test('gives whole numbers within the bounds or throws', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.stringMatching(/^[0-9.]{1,6}[kMGTPEmi]{0,2}$/)),
        (text) => {
          let rate: number | undefined;
          try {
            rate = bandwidthOf({ 'kubernetes.io/ingress-bandwidth': text })?.ingressRate;
          } catch (error) {
            expect(error).toBeInstanceOf(InvalidArgumentError);
            return;
          }
          expect(
            Number.isInteger(rate) && (rate as number) >= 1000 && (rate as number) <= 1e15,
          ).toBe(true);
        },
      ),
    );
  });
});

describe('requestConfig()', () => {
  const offered = capabilityArguments({
    ...pod,
    annotations: { 'kubernetes.io/ingress-bandwidth': '1M' },
    dns: { servers: ['10.0.0.10'], searches: ['local'] },
    portMappings: [
      { protocol: 'tcp', hostPort: 8080, containerPort: 80 },
      { protocol: 'udp', hostPort: 0, containerPort: 53 },
    ],
  });

  test('gives a plugin what it declares, and nothing else', () => {
    const plugin = {
      type: 'portmap',
      snat: true,
      capabilities: { portMappings: true, dns: false, unknown: true },
    };
    expect(
      requestConfig(plugin, { name: 'pods', cniVersion: '1.0.0', capabilityArguments: offered }),
    ).toEqual({
      type: 'portmap',
      snat: true,
      name: 'pods',
      cniVersion: '1.0.0',
      runtimeConfig: {
        portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '' }],
      },
    });
    const names = ['bandwidth', 'dns', 'io.kubernetes.cri.pod-annotations'];
    const capabilities = Object.fromEntries(names.map((name) => [name, true]));
    expect(
      requestConfig({ type: 'x', capabilities }, { capabilityArguments: offered }),
    ).toMatchObject({
      runtimeConfig: {
        bandwidth: { ingressRate: 1_000_000 },
        dns: { servers: ['10.0.0.10'], searches: ['local'], options: [] },
        'io.kubernetes.cri.pod-annotations': { 'kubernetes.io/ingress-bandwidth': '1M' },
      },
    });
  });

  test('takes nothing from a file that only the runtime may say', () => {
    const plugin = {
      type: 'x',
      runtimeConfig: { portMappings: [] },
      prevResult: { ips: [] },
      'cni.dev/valid-attachments': [],
      name: 'other',
    };
    expect(requestConfig(plugin, { name: 'pods', capabilityArguments: offered })).toEqual({
      type: 'x',
      name: 'pods',
    });
  });
});

describe('podArguments()', () => {
  test('names the pod as Kubernetes plugins look for it', () => {
    expect(podArguments('abc', pod)).toBe(
      'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=abc;K8S_POD_UID=11-22',
    );
  });

  test('has five arguments, whatever the pod is called', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (name, uid) => {
        const args = podArguments('abc', { ...pod, name, uid }).split(';');
        expect(args.map((arg) => arg.split('=').length)).toEqual([2, 2, 2, 2, 2]);
      }),
    );
  });
});

describe('podAddress()', () => {
  const inside = { name: 'eth0', sandbox: '/run/netns/a' };

  test('takes the addresses inside the pod, IPv4 first', () => {
    expect(
      podAddress({
        interfaces: [{ name: 'br0' }, inside],
        ips: [
          { address: '10.0.0.1/24', interface: 0 },
          { address: 'fd00::5/64', interface: 1 },
          { address: '10.0.0.5/24', interface: 1, version: '4' },
          { address: '10.1.0.5/24' },
        ],
      }),
    ).toEqual({ ip: '10.0.0.5', additionalIps: ['10.1.0.5', 'fd00::5'] });
    expect(podAddress({ ips: [{ address: 'fd00::5/64' }] })).toEqual({
      ip: 'fd00::5',
      additionalIps: [],
    });
  });

  test.each([
    {},
    { ips: [] },
    { ips: [{ address: '10.0.0.1/24', interface: 0 }], interfaces: [{ name: 'br0' }] },
    { ips: [{ address: 'x' }] },
    { ips: [{}] },
    { ips: { address: '10.0.0.1' } },
    { ips: ['10.0.0.1'] },
  ])('refuses %j', (result) => {
    expect(() => podAddress(result)).toThrow(expect.objectContaining({ code: 'CNI_BAD_RESULT' }));
  });

  test('throws nothing else, whatever a plugin writes', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        try {
          podAddress(parseResult(text));
        } catch (error) {
          expect(error).toBeInstanceOf(RuntimeError);
        }
      }),
    );
  });
});
