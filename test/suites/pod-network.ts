import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { PortMapping } from '../../src/runtime/sandbox-config.js';
import type { PodNetwork, PodToConnect } from '../../src/sandbox/pod-network.js';
import { connect, ip, listen, name, useNamespaces } from '../fixtures/network-namespaces.js';

/** A network whose host is the namespace `host` of the fixture, and its end. */
export interface PodNetworkRig {
  readonly network: PodNetwork;
  /** The network as another process, or the next one, sees it. */
  readonly again: PodNetwork;
  close(): Promise<void>;
}

const PORT: PortMapping = { protocol: 'tcp', hostPort: 8080, containerPort: 80 };

function pod(role: string, portMappings: readonly PortMapping[] = []): PodToConnect {
  const config = { name: role, namespace: 'default', uid: `uid-${role}`, portMappings };
  return { netnsPath: `/run/netns/${name(role)}`, config };
}

/** What every network of pods does, whoever made it. */
export function describePodNetwork(title: string, open: () => PodNetworkRig): void {
  describe(title, () => {
    let rig: PodNetworkRig;
    useNamespaces();
    beforeEach(() => {
      ip('-n', name('host'), 'link', 'set', 'lo', 'up');
      rig = open();
    });
    afterEach(() => rig.close());

    test('is ready, and gives each pod an address by which the others reach it', async () => {
      expect(await rig.network.status()).toMatchObject({ ready: true });
      const one = await rig.network.attach('sandbox1', pod('pod1'));
      const two = await rig.network.attach('sandbox2', pod('pod2'));
      expect(one.ip).not.toBe(two.ip);
      const addresses = ip('-n', name('pod1'), '-o', 'addr', 'show', 'dev', 'eth0');
      for (const own of [one.ip, ...one.additionalIps]) expect(addresses).toContain(` ${own}/`);
      expect(ip('-n', name('pod1'), 'link', 'show', 'lo')).toContain('LOOPBACK,UP');
      await listen('pod1', 7000, '::');
      // A plugin may leave the kernel to look for duplicates of an IPv6 address; nobody answers from it before that is over.
      await vi.waitFor(() => {
        for (const role of ['host', 'pod1', 'pod2'] as const) {
          expect(ip('-n', name(role), '-o', '-6', 'addr', 'show', 'tentative')).toBe('');
        }
      }, 10_000);
      for (const address of [one.ip, ...one.additionalIps]) {
        expect(connect('host', address, 7000)).not.toBe('');
        expect(connect('pod2', address, 7000).replace('::ffff:', '')).toBe(
          address === one.ip ? two.ip : two.additionalIps[0],
        );
      }
      await rig.network.detach('sandbox1');
      await rig.network.detach('sandbox2');
    });

    test('makes ports of the host lead to the pod until it is detached', async () => {
      await listen('pod1', 80);
      await rig.network.attach('sandbox1', pod('pod1', [PORT]));
      expect(connect('host', '127.0.0.1', 8080)).not.toBe('');
      await rig.network.detach('sandbox1');
      expect(() => connect('host', '127.0.0.1', 8080)).toThrow('ECONNREFUSED');
      await rig.again.attach('sandbox2', pod('pod2', [PORT]));
      await rig.network.detach('sandbox2');
    });

    test('detaches twice, and a pod whose namespace is gone', async () => {
      const { ip: address } = await rig.network.attach('sandbox1', pod('pod1', [PORT]));
      ip('netns', 'del', name('pod1'));
      ip('netns', 'add', name('pod1'));
      await rig.again.detach('sandbox1');
      await rig.network.detach('sandbox1');
      await rig.network.detach('unknown');
      const next = await rig.network.attach('sandbox2', pod('pod2', [PORT]));
      expect(next.ip).not.toBe(address);
      await rig.network.detach('sandbox2');
    });

    test('leaves nothing behind when it cannot attach', async () => {
      const lost = { ...pod('pod1', [PORT]), netnsPath: '/run/netns/cais-none' };
      await expect(rig.network.attach('sandbox1', lost)).rejects.toThrow();
      await rig.network.attach('sandbox2', pod('pod2', [PORT]));
      await rig.network.detach('sandbox2');
    });

    test('collect() gives back what belongs to no live sandbox', async () => {
      await rig.network.attach('sandbox1', pod('pod1', [PORT]));
      await rig.network.attach('sandbox2', pod('pod2'));
      await rig.again.collect((id) => id === 'sandbox2');
      expect(() => connect('host', '127.0.0.1', 8080)).toThrow('ECONNREFUSED');
      expect(ip('-n', name('pod2'), '-o', 'addr')).toContain('eth0');
      await rig.network.collect(() => false);
      const links = execFileSync('ip', ['-n', name('host'), '-o', 'link'], { encoding: 'utf8' });
      expect(links).not.toContain('veth');
      expect(links).not.toContain('cv');
    });
  });
}
