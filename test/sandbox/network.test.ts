import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { NativeError } from '../../src/errors.js';
import { loadNative } from '../../src/native.js';
import type { NetworkLink } from '../../src/native-network.js';
import { RecordStore } from '../../src/record-store.js';
import type { PortMapping } from '../../src/runtime/sandbox-config.js';
import { BridgeNetwork, type BridgeNetworkOptions } from '../../src/sandbox/network.js';
import type { PodToConnect } from '../../src/sandbox/pod-network.js';

const native = loadNative();

/** A machine of links and tables in memory, with the same names and failures as the native one. */
class FakeMachine {
  readonly links = new Map<string, NetworkLink>();
  readonly pods = new Map<string, string>();
  readonly tables = new Set<string>();
  /** `protocol hostIp:hostPort` → `podIp:podPort` */
  readonly ports = new Map<string, string>();
  readonly forgotten: object[] = [];
  failNext: string | undefined;

  addLink(name: string, ...addresses: string[]): void {
    this.links.set(name, { name, index: this.links.size + 1, kind: 'bridge', up: true, addresses });
  }

  readonly native: BridgeNetworkOptions['native'] = {
    lockFile: native.lockFile,
    listLinks: async () => [...this.links.values()],
    ensureBridge: async ({ name, addressCidr }) => this.addLink(name, addressCidr),
    ensurePodTable: async ({ table }) => {
      const created = !this.tables.has(table);
      this.tables.add(table);
      return { created, ipv6Loopback: true };
    },
    removePodTable: async (table) => {
      this.tables.delete(table);
      this.ports.clear();
    },
    addHostPorts: async ({ ports }) => {
      for (const { protocol, hostIp = '', hostPort, podIp, podPort } of ports) {
        this.ports.set(`${protocol} ${hostIp}:${hostPort}`, `${podIp}:${podPort}`);
      }
    },
    removeHostPorts: async ({ ports }) => {
      for (const { protocol, hostIp = '', hostPort } of ports) {
        this.ports.delete(`${protocol} ${hostIp}:${hostPort}`);
      }
    },
    forgetUdpFlows: async (flows) => void this.forgotten.push(flows),
    removeLink: async (name) => {
      this.links.delete(name);
      this.pods.delete(name);
    },
    addPodInterface: async ({ hostName, addressCidr, address6Cidr }) => {
      if (this.failNext !== undefined) {
        const code = this.failNext;
        this.failNext = undefined;
        throw new NativeError({ code, message: 'told to fail' });
      }
      expect([...this.pods.values()]).not.toContain(addressCidr);
      this.pods.set(hostName, addressCidr);
      return { macAddress: '0a:58:00:00:00:00', hasIpv6: address6Cidr !== undefined };
    },
  };
}

let directory: string;
let machine: FakeMachine;
let hasIpv6 = false;
const stores: RecordStore[] = [];

/** A pod that asks for these ports of the node. */
function pod(netnsPath = '/n', portMappings: readonly PortMapping[] = []): PodToConnect {
  return { netnsPath, config: { name: 'web', namespace: 'default', uid: 'u', portMappings } };
}

/** A network of the root `name`; a second one of the same name is another process's view of it. */
function network(name = 'root', config: { subnet?: string; bridge?: string } = {}): BridgeNetwork {
  const root = join(directory, name);
  mkdirSync(root, { recursive: true });
  const records = RecordStore.open(join(root, 'meta'));
  stores.push(records);
  return new BridgeNetwork({
    config: { root, network: config },
    native: machine.native,
    records,
    machineDirectory: directory,
    hasIpv6: async () => hasIpv6,
  });
}

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cais-network-'));
  machine = new FakeMachine();
  hasIpv6 = false;
  // With no root left the registry would restore the machine's own setting: it says what is now.
  const forwardingBefore = readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8').trim();
  writeFileSync(
    join(directory, 'cais-network.json'),
    JSON.stringify({ forwardingBefore, subnets: {} }),
  );
});

afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
  rmSync(directory, { recursive: true, force: true });
});

describe('attach()', () => {
  test('gives each sandbox an address of its own, and the same one again', async () => {
    const bridge = network();
    const first = await bridge.attach('a', pod('/netns/a'));
    const second = await bridge.attach('b', pod('/netns/b'));
    expect(first.ip).not.toBe(second.ip);
    expect(first.gateway).toBe(second.gateway);
    expect(first.prefixLength).toBe(20);
    expect((await bridge.attach('a', pod('/netns/a'))).ip).toBe(first.ip);
    expect(machine.pods.size).toBe(2);
  });

  test('remembers addresses across restarts', async () => {
    const { ip } = await network().attach('a', pod('/netns/a'));
    const later = network();
    expect((await later.attach('a', pod('/netns/a'))).ip).toBe(ip);
    expect((await later.attach('b', pod('/netns/b'))).ip).not.toBe(ip);
  });

  test('does not give an address again at once', async () => {
    const bridge = network();
    await bridge.attach('keeps-the-network', pod('/netns/k'));
    const seen = new Set<string>();
    for (let i = 0; i < 10; i++) {
      seen.add((await bridge.attach(`s${i}`, pod('/netns/s'))).ip);
      await bridge.detach(`s${i}`);
    }
    expect(seen.size).toBe(10);
  });

  test('uses every address of the subnet, says when there is none, and takes freed ones', async () => {
    const bridge = network('root', { subnet: '192.0.2.8/29' });
    const ips = [];
    for (let i = 0; i < 5; i++) ips.push((await bridge.attach(`s${i}`, pod('/netns/s'))).ip);
    expect([...ips].sort()).toEqual([10, 11, 12, 13, 14].map((last) => `192.0.2.${last}`));
    await expect(bridge.attach('more', pod('/netns/s'))).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      message: expect.stringContaining('192.0.2.8/29'),
    });
    await bridge.detach('s2');
    expect((await bridge.attach('more', pod('/netns/s'))).ip).toBe(ips[2]);
  });

  test('leaves nothing behind when the link cannot be made', async () => {
    const bridge = network();
    machine.failNext = 'ENOENT';
    await expect(bridge.attach('a', pod('/netns/a'))).rejects.toMatchObject({ code: 'ENOENT' });
    expect(machine.links.size + machine.tables.size + machine.pods.size).toBe(0);
    await bridge.attach('b', pod('/netns/b'));
    machine.failNext = 'ENOENT';
    await expect(bridge.attach('a', pod('/netns/a'))).rejects.toMatchObject({ code: 'ENOENT' });
    expect(machine.pods.size).toBe(1);
  });

  test('serves many callers and processes of one root at once', async () => {
    const views = [network(), network(), network()];
    const attached = await Promise.all(
      Array.from({ length: 30 }, (_, i) =>
        (views[i % 3] as BridgeNetwork).attach(`s${i}`, pod('/n')),
      ),
    );
    expect(new Set(attached.map(({ ip }) => ip)).size).toBe(30);
    await Promise.all(
      Array.from({ length: 30 }, (_, i) => (views[(i + 1) % 3] as BridgeNetwork).detach(`s${i}`)),
    );
    expect(machine.links.size + machine.tables.size + machine.pods.size).toBe(0);
  });
});

describe('subnet', () => {
  test('overlaps no link of the machine and no other root, with or without pods', async () => {
    machine.addLink('other', '10.88.0.1/19');
    const first = network('one');
    const { ip } = await first.attach('a', pod('/n'));
    await first.detach('a');
    const second = await network('two').attach('a', pod('/n'));
    expect(ip).toMatch(/^10\.88\.3[2-9]|^10\.88\.4[0-7]/);
    expect(second.ip.split('.').slice(0, 3)).not.toEqual(ip.split('.').slice(0, 3));
    expect((await first.attach('b', pod('/n'))).gateway).toBe('10.88.32.1');
  });

  test('of the configuration is taken, and not changed below running pods', async () => {
    const bridge = network('root', { subnet: '10.200.0.77/24' });
    expect(await bridge.attach('a', pod('/n'))).toMatchObject({
      gateway: '10.200.0.1',
      prefixLength: 24,
    });
    const changed = network('root', { subnet: '10.201.0.0/24' });
    await expect(changed.attach('b', pod('/n'))).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
    });
    await changed.detach('a');
    expect((await changed.attach('b', pod('/n'))).gateway).toBe('10.201.0.1');
  });

  test.each(['10.0.0.0', '10.0.0.0/30', '10.0.0.0/33', 'fd00::/64', '300.0.0.0/16'])(
    'is refused when it is "%s"',
    async (subnet) => {
      await expect(network('root', { subnet }).attach('a', pod('/n'))).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      });
    },
  );
});

describe('bridge', () => {
  test('goes with the last sandbox, and detach() twice is fine', async () => {
    const bridge = network();
    await bridge.attach('a', pod('/n'));
    await bridge.attach('b', pod('/n'));
    await bridge.detach('a');
    await bridge.detach('a');
    expect(machine.tables.size).toBe(1);
    await bridge.detach('b');
    await bridge.detach('b');
    expect(machine.links.size + machine.tables.size).toBe(0);
  });

  test('of somebody else is neither used nor removed', async () => {
    machine.addLink('docker0', '172.17.0.1/16');
    const bridge = network('root', { bridge: 'docker0' });
    await bridge.collect(() => false);
    await expect(bridge.attach('a', pod('/n'))).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
    });
    await bridge.detach('a');
    await bridge.reset();
    expect([...machine.links.keys()]).toEqual(['docker0']);
  });
});

describe('collect(), reset()', () => {
  test('give back what belongs to no live sandbox', async () => {
    const bridge = network();
    for (const id of ['a', 'b', 'c']) await bridge.attach(id, pod('/n'));
    await bridge.collect((id) => id === 'b');
    expect(machine.pods.size).toBe(1);
    expect(machine.tables.size).toBe(1);
    await bridge.reset();
    expect(machine.links.size + machine.tables.size + machine.pods.size).toBe(0);
    const registry = JSON.parse(readFileSync(join(directory, 'cais-network.json'), 'utf8'));
    expect(registry.subnets).toEqual({});
  });
});

describe('host ports', () => {
  const web: PortMapping = { protocol: 'tcp', hostPort: 8080, containerPort: 80 };
  const dns: PortMapping = {
    protocol: 'udp',
    hostPort: 53,
    containerPort: 5353,
    hostIp: '192.0.2.1',
  };

  test('lead to the pod until it is detached, and a known flow of datagrams is forgotten', async () => {
    const bridge = network();
    await bridge.attach('keeps-the-network', pod());
    const { ip } = await bridge.attach('a', pod('/n', [web, dns, { ...web, hostPort: 0 }]));
    expect(Object.fromEntries(machine.ports)).toEqual({
      '6 :8080': `${ip}:80`,
      '17 192.0.2.1:53': `${ip}:5353`,
    });
    expect(machine.forgotten).toEqual([{ hostPorts: [53], podIps: [] }]);
    await bridge.detach('a');
    await bridge.detach('a');
    expect(machine.ports.size).toBe(0);
    expect(machine.forgotten[1]).toEqual({ hostPorts: [53], podIps: [ip] });
    await bridge.attach('b', pod('/n', [web, dns]));
  });

  test('are refused when another pod has them, of another root too, and nothing is left of the attempt', async () => {
    const bridge = network('one');
    await bridge.attach('a', pod('/n', [web]));
    await expect(
      bridge.attach('b', pod('/n', [{ ...web, hostIp: '127.0.0.1' }])),
    ).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      message: 'The pod "default/web" (sandbox a) has host port 8080/tcp of 127.0.0.1 already',
    });
    await expect(network('two').attach('c', pod('/n', [web]))).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      message: expect.stringContaining('has host port 8080/tcp already'),
    });
    expect(machine.pods.size).toBe(1);
    await bridge.attach('b', pod('/n', [{ ...web, protocol: 'udp' }]));
    await bridge.detach('a');
    await network('two').attach('c', pod('/n', [web]));
  });

  test('of a sandbox whose engine was killed go with collect(), the others stay', async () => {
    const bridge = network();
    const { ip } = await bridge.attach('a', pod('/n', [web]));
    await bridge.attach('b', pod('/n', [dns]));
    await network().collect((id) => id === 'a');
    expect(Object.fromEntries(machine.ports)).toEqual({ '6 :8080': `${ip}:80` });
  });

  test('come back when somebody has removed the table', async () => {
    const bridge = network();
    await bridge.attach('a', pod('/n', [web]));
    machine.tables.clear();
    machine.ports.clear();
    await bridge.attach('b', pod());
    expect([...machine.ports.keys()]).toEqual(['6 :8080']);
  });

  test('of an IPv6 address are refused for a pod without one', async () => {
    const bound = { ...web, hostIp: '::1' };
    await expect(network().attach('a', pod('/n', [bound]))).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      message: 'The pod has no IPv6 address for host port 8080/tcp of ::1',
    });
    expect(machine.links.size + machine.tables.size + machine.pods.size).toBe(0);
    hasIpv6 = true;
    await network().attach('a', pod('/n', [bound]));
    expect([...machine.ports.keys()]).toEqual(['6 ::1:8080']);
  });
});

describe('IPv6', () => {
  test('gives each pod an address of a subnet that stays the same', async () => {
    hasIpv6 = true;
    const bridge = network();
    const { additionalIps } = await bridge.attach('a', pod());
    expect(additionalIps).toEqual([expect.stringMatching(/^fd[0-9a-f]{2}(:[0-9a-f]{1,4}){2}::2$/)]);
    await bridge.detach('a');
    const again = await network().attach('b', pod());
    expect(again.additionalIps).toEqual([additionalIps[0]?.replace(/2$/, '3')]);
    hasIpv6 = false;
    expect((await bridge.attach('c', pod())).additionalIps).toEqual([]);
  });
});

describe('with the kernel', () => {
  test('connects a namespace and takes every trace back', async () => {
    const root = join(directory, 'kernel');
    mkdirSync(root);
    const records = RecordStore.open(join(root, 'meta'));
    stores.push(records);
    const bridge = new BridgeNetwork({ config: { root, network: {} }, native, records });
    const netns = `cais-test-${randomBytes(6).toString('hex')}`;
    execFileSync('ip', ['netns', 'add', netns]);
    try {
      const { ip, gateway, prefixLength } = await bridge.attach('a', pod(`/run/netns/${netns}`));
      const addresses = execFileSync('ip', ['-n', netns, '-o', 'addr'], { encoding: 'utf8' });
      expect(addresses).toContain(`${ip}/${prefixLength}`);
      const host = await native.listLinks();
      expect(host.some((link) => link.addresses.includes(`${gateway}/${prefixLength}`))).toBe(true);
      expect(readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8')).toBe('1\n');
      // Twice, as after a crash between the link and the record.
      expect((await bridge.attach('a', pod(`/run/netns/${netns}`))).ip).toBe(ip);
    } finally {
      await bridge.reset();
      execFileSync('ip', ['netns', 'del', netns]);
    }
    const after = (await native.listLinks()).map(({ name }) => name);
    expect(after).not.toContain(bridgeName(root));
    const tables = execFileSync('nft', ['list', 'tables'], { encoding: 'utf8' });
    expect(tables).not.toContain(`cais_${bridgeName(root).slice(4)}`);
  });
});

function bridgeName(root: string): string {
  return `cais${execFileSync('sh', ['-c', `printf %s "$0" | sha256sum | cut -c1-8`, root], { encoding: 'utf8' }).trim()}`;
}
