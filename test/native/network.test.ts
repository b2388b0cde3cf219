import { describe, expect, test } from 'vitest';
import type { NetworkLink } from '../../src/native-network.js';
import {
  bridge,
  connect,
  GATEWAY,
  inside,
  ip,
  listen,
  name,
  onHost,
  pod,
  table,
  useNamespaces,
} from '../fixtures/network-namespaces.js';

useNamespaces();

describe('bridge and pods', () => {
  test('pods reach each other under their own addresses and the outside under that of the host', async () => {
    onHost('ensureBridge', bridge);
    onHost('ensurePodTable', table);
    expect(inside('host', 'cat', '/proc/sys/net/ipv4/ip_forward')).toBe('1\n');
    const mac = onHost('addPodInterface', pod('pod1', '10.99.0.2'));
    expect(mac).toEqual({ macAddress: '0a:58:0a:63:00:02', hasIpv6: false });
    onHost('addPodInterface', pod('pod2', '10.99.0.3'));

    const links = ip('-n', name('pod1'), '-o', 'addr');
    expect(links).toContain('127.0.0.1/8');
    expect(links).toContain('10.99.0.2/24');
    expect(ip('-n', name('pod1'), 'link', 'show', 'eth0')).toContain('0a:58:0a:63:00:02');
    expect(ip('-n', name('pod1'), 'route')).toContain(`default via ${GATEWAY} dev eth0`);

    ip(
      '-n',
      name('host'),
      'link',
      'add',
      'up0',
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      name('outside'),
    );
    ip('-n', name('host'), 'addr', 'add', '192.0.2.1/24', 'dev', 'up0');
    ip('-n', name('outside'), 'addr', 'add', '192.0.2.2/24', 'dev', 'eth0');
    ip('-n', name('host'), 'link', 'set', 'up0', 'up');
    ip('-n', name('outside'), 'link', 'set', 'eth0', 'up');

    await listen('outside', 8001);
    await listen('pod2', 8002);
    expect(connect('pod1', '192.0.2.2', 8001)).toBe('192.0.2.1');
    expect(connect('pod1', '10.99.0.3', 8002)).toBe('10.99.0.2');
    expect(connect('host', '10.99.0.3', 8002)).toBe(GATEWAY);
  });

  test('ensureBridge() is content with its own bridge and refuses a foreign one', () => {
    onHost('ensureBridge', bridge);
    onHost('ensureBridge', bridge);
    expect(() => onHost('ensureBridge', { ...bridge, addressCidr: '10.98.0.1/24' })).toThrow(
      expect.objectContaining({ code: 'CONFLICT' }),
    );
    ip('-n', name('host'), 'link', 'add', 'other', 'type', 'veth', 'peer', 'name', 'other2');
    expect(() => onHost('ensureBridge', { ...bridge, name: 'other' })).toThrow(
      expect.objectContaining({ code: 'CONFLICT', message: expect.stringContaining('"other"') }),
    );
  });

  test('addPodInterface() leaves nothing behind when it fails', () => {
    onHost('ensureBridge', bridge);
    // No route to a gateway that is not in the pod's network.
    expect(() =>
      onHost('addPodInterface', { ...pod('pod1', '10.99.0.2'), gateway: '192.0.2.9' }),
    ).toThrow(
      expect.objectContaining({
        errnoCode: 'ENETUNREACH',
        syscall: expect.stringContaining('route'),
      }),
    );
    expect(onHost('listLinks').map((link) => link.name)).toEqual(['lo', 'cais-br']);
    expect(ip('-n', name('pod1'), '-o', 'link')).not.toContain('eth0');
    expect(() =>
      onHost('addPodInterface', { ...pod('pod1', '10.99.0.2'), bridge: 'none' }),
    ).toThrow(expect.objectContaining({ code: 'ENODEV', path: 'none' }));
    onHost('addPodInterface', pod('pod1', '10.99.0.2'));
    expect(() => onHost('addPodInterface', pod('pod1', '10.99.0.2'))).toThrow(
      expect.objectContaining({ code: 'EEXIST' }),
    );
  });

  test('the host end goes with the namespace of the pod', async () => {
    onHost('ensureBridge', bridge);
    onHost('addPodInterface', pod('pod1', '10.99.0.2'));
    ip('netns', 'del', name('pod1'));
    ip('netns', 'add', name('pod1'));
    await expect
      .poll(() => onHost('listLinks').map((link) => link.name), { timeout: 10_000 })
      .toEqual(['lo', 'cais-br']);
  });
});

describe('listLinks()', () => {
  test('tells kind, state and addresses', () => {
    onHost('ensureBridge', bridge);
    ip('-n', name('host'), 'addr', 'add', '2001:db8::1/64', 'dev', 'lo');
    const byName = new Map(onHost('listLinks').map((link: NetworkLink) => [link.name, link]));
    expect(byName.get('cais-br')).toMatchObject({ kind: 'bridge', up: true });
    expect(byName.get('cais-br')?.addresses).toContain('10.99.0.1/24');
    expect(byName.get('lo')).toMatchObject({ kind: '', up: false, index: 1 });
    expect(byName.get('lo')?.addresses).toContain('2001:db8::1/64');
  });
});

describe('setLoopbackUp(), removeLink()', () => {
  test('are idempotent', () => {
    const path = `/run/netns/${name('pod1')}`;
    onHost('setLoopbackUp', path);
    onHost('setLoopbackUp', path);
    expect(ip('-n', name('pod1'), 'link', 'show', 'lo')).toContain('LOOPBACK,UP');
    onHost('ensureBridge', bridge);
    onHost('removeLink', 'cais-br');
    onHost('removeLink', 'cais-br');
    expect(onHost('listLinks').map((link) => link.name)).toEqual(['lo']);
  });

  test('name what is wrong', () => {
    expect(() => onHost('setLoopbackUp', '/run/netns/none')).toThrow(
      expect.objectContaining({ code: 'ENOENT', path: '/run/netns/none' }),
    );
    expect(() => onHost('removeLink', 'a-name-that-is-too-long')).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
  });
});

describe('ensurePodTable(), removePodTable()', () => {
  test('make one table, however often', () => {
    onHost('ensureBridge', bridge);
    expect(onHost('ensurePodTable', table).created).toBe(true);
    onHost('ensurePodTable', { ...table, subnetCidr: '10.98.0.0/16' });
    expect(onHost('ensurePodTable', table).created).toBe(false);
    const rules = inside('host', 'nft', 'list', 'ruleset').replace(/\s+/g, ' ').trim();
    expect(rules).toBe(
      'table inet cais_test { ' +
        'map ports4 { type inet_proto . inet_service : ipv4_addr . inet_service } ' +
        'map bound_ports4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service } ' +
        'map ports6 { type inet_proto . inet_service : ipv6_addr . inet_service } ' +
        'map bound_ports6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service } ' +
        'chain guard { type filter hook prerouting priority raw; policy accept; ' +
        'iifname "cais-br" ip daddr 127.0.0.0/8 drop } ' +
        'chain ports { ' +
        'dnat ip to ip daddr . meta l4proto . th dport map @bound_ports4 ' +
        'meta nfproto ipv4 dnat ip to meta l4proto . th dport map @ports4 ' +
        'ip6 daddr ::1 return ' +
        'dnat ip6 to ip6 daddr . meta l4proto . th dport map @bound_ports6 ' +
        'meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @ports6 } ' +
        'chain prerouting { type nat hook prerouting priority dstnat; policy accept; ' +
        'fib daddr type local jump ports } ' +
        'chain output { type nat hook output priority -100; policy accept; ' +
        'fib daddr type local jump ports } ' +
        'chain postrouting { type nat hook postrouting priority srcnat; policy accept; ' +
        'ip saddr 10.99.0.0/24 oifname != "cais-br" masquerade fully-random ' +
        'ip saddr 127.0.0.0/8 oifname "cais-br" masquerade ' +
        'ip saddr 10.99.0.0/24 oifname "cais-br" ct status dnat masquerade } }',
    );
    onHost('removePodTable', 'cais_test');
    onHost('removePodTable', 'cais_test');
    expect(inside('host', 'nft', 'list', 'ruleset')).toBe('');
  });

  test.each(['10.99.0.0', '10.99.0.0/33', '10.99.0/24', 'x', '10.99.0.0/'])(
    'refuse the subnet "%s"',
    (subnetCidr) => {
      expect(() => onHost('ensurePodTable', { ...table, subnetCidr })).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
      );
    },
  );
});

describe('connectInNamespace()', () => {
  const at = (role: string, address: string, port: number) => ({
    netnsPath: `/run/netns/${name(role)}`,
    ip: address,
    port,
    timeoutMs: 500,
  });

  test('connects inside the namespace only', async () => {
    onHost('setLoopbackUp', `/run/netns/${name('pod1')}`);
    await listen('pod1', 7000, '::');
    expect(onHost('connectInNamespace', at('pod1', '127.0.0.1', 7000))).toBeGreaterThan(2);
    expect(onHost('connectInNamespace', at('pod1', '::1', 7000))).toBeGreaterThan(2);
    expect(() => onHost('connectInNamespace', at('pod2', '127.0.0.1', 7000))).toThrow(
      expect.objectContaining({ code: 'ENETUNREACH' }),
    );
    expect(() => onHost('connectInNamespace', at('pod1', '127.0.0.1', 7001))).toThrow(
      expect.objectContaining({ code: 'ECONNREFUSED', path: '127.0.0.1 port 7001' }),
    );
    expect(() => onHost('connectInNamespace', at('gone', '127.0.0.1', 7000))).toThrow(
      expect.objectContaining({ code: 'ENOENT' }),
    );
  });

  test('gives up after its time', () => {
    onHost('ensureBridge', bridge);
    onHost('addPodInterface', pod('pod1', '10.99.0.2'));
    inside('pod1', 'nft', 'add', 'table', 'inet', 'deaf');
    inside(
      'pod1',
      'nft',
      'add chain inet deaf in { type filter hook input priority 0; policy drop; }',
    );
    expect(() => onHost('connectInNamespace', at('pod1', '127.0.0.1', 7000))).toThrow(
      expect.objectContaining({ code: 'ETIMEDOUT' }),
    );
  });
});
