import { describe, expect, test } from 'vitest';
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
  start,
  table,
  useNamespaces,
} from '../fixtures/network-namespaces.js';

useNamespaces();

/** A UDP server that answers with its own address. */
async function answer(role: string, port: number): Promise<void> {
  const script = `
    const own = Object.values(require('os').networkInterfaces()).flat().find((a) => a.address.startsWith('10.99')).address;
    const s = require('dgram').createSocket('udp4');
    s.on('message', (m, from) => s.send(own, from.port, from.address));
    s.bind(${port}, () => console.log('listening'));`;
  await start(role, script);
}

/** Asks from one port, always the same: for the kernel it is one flow. */
const ASK = `
  const s = require('dgram').createSocket('udp4');
  const end = (text) => { process.stdout.write(text); process.exit(); };
  s.on('message', (m) => end(m.toString())); s.on('error', () => end('nobody'));
  s.bind(4444, () => s.send('?', 53, '192.0.2.1'));
  setTimeout(() => end('nobody'), 1000);`;

describe('host ports', () => {
  const web = { protocol: 6, hostPort: 8080, podIp: '10.99.0.2', podPort: 80 };
  const web6 = { ...web, podIp: 'fd99::2' };
  const change = { table: 'cais_test' };

  /** Two pods, a machine beyond the host; everything with both families. */
  function build(): { ipv6Loopback: boolean } {
    ip('-n', name('host'), 'link', 'set', 'lo', 'up');
    onHost('ensureBridge', { ...bridge, address6Cidr: 'fd99::1/64' });
    const state = onHost('ensurePodTable', { ...table, subnet6Cidr: 'fd99::/64' });
    for (const [role, last] of [
      ['pod1', 2],
      ['pod2', 3],
    ] as const) {
      const made = onHost('addPodInterface', {
        ...pod(role, `10.99.0.${last}`),
        address6Cidr: `fd99::${last}/64`,
        gateway6: 'fd99::1',
      });
      expect(made.hasIpv6).toBe(true);
    }
    const link = ['link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns'];
    ip('-n', name('host'), ...link, name('outside'));
    for (const [role, device, last] of [
      ['host', 'up0', 1],
      ['outside', 'eth0', 2],
    ] as const) {
      ip('-n', name(role), 'addr', 'add', `192.0.2.${last}/24`, 'dev', device);
      ip('-n', name(role), 'addr', 'add', `2001:db8::${last}/64`, 'dev', device, 'nodad');
      ip('-n', name(role), 'link', 'set', device, 'up');
    }
    return state;
  }

  test('are reached from outside, from the host, from other pods and from the pod itself', async () => {
    const { ipv6Loopback } = build();
    onHost('addHostPorts', { ...change, ports: [web, web6] });
    await listen('pod1', 80, '::');
    const seen = (role: string, address: string) =>
      connect(role, address, 8080).replace('::ffff:', '');
    // The pod sees who asks.
    expect(seen('outside', '192.0.2.1')).toBe('192.0.2.2');
    expect(seen('outside', '2001:db8::1')).toBe('2001:db8::2');
    expect(seen('host', '192.0.2.1')).toBe('192.0.2.1');
    expect(seen('host', '127.0.0.1')).toBe(GATEWAY);
    expect(seen('host', '127.8.8.8')).toBe(GATEWAY);
    expect(seen('host', '2001:db8::1')).toBe('2001:db8::1');
    for (const role of ['pod1', 'pod2']) {
      expect(seen(role, '192.0.2.1')).toBe(GATEWAY);
      expect(seen(role, 'fd99::1')).toBe('fd99::1');
    }
    // This kernel filters bridges; where it does not, ::1 leads to the pod.
    expect(ipv6Loopback).toBe(false);
    expect(() => seen('host', '::1')).toThrow('ECONNREFUSED');
    inside('host', 'sysctl', '-qw', 'net.bridge.bridge-nf-call-ip6tables=0');
    expect(onHost('ensurePodTable', { ...table, subnet6Cidr: 'fd99::/64' })).toEqual({
      created: false,
      ipv6Loopback: true,
    });
    expect(seen('host', '::1')).toBe('fd99::1');

    onHost('removeHostPorts', { ...change, ports: [web, web6] });
    onHost('removeHostPorts', { ...change, ports: [web, web6] });
    expect(() => seen('host', '127.0.0.1')).toThrow('ECONNREFUSED');
    expect(() => seen('outside', '2001:db8::1')).toThrow('ECONNREFUSED');
  });

  test('of one address are not reached by another', async () => {
    build();
    await listen('pod1', 80, '::');
    const ports = [
      { ...web, hostIp: '127.0.0.1' },
      { ...web6, hostIp: '2001:db8::1' },
    ];
    onHost('addHostPorts', { ...change, ports });
    expect(connect('host', '127.0.0.1', 8080)).toBe(`::ffff:${GATEWAY}`);
    expect(connect('outside', '2001:db8::1', 8080)).toBe('2001:db8::2');
    expect(() => connect('outside', '192.0.2.1', 8080)).toThrow('ECONNREFUSED');
  });

  test('let no pod reach what listens on the loopback of the host', async () => {
    build();
    onHost('addHostPorts', { ...change, ports: [web] });
    await listen('host', 9000, '127.0.0.1');
    ip('-n', name('pod1'), 'route', 'add', '127.9.9.9/32', 'via', GATEWAY, 'src', '10.99.0.2');
    inside('pod1', 'sysctl', '-qw', 'net.ipv4.conf.all.route_localnet=1');
    ip('-n', name('pod1'), 'route', 'del', 'local', '127.0.0.0/8', 'dev', 'lo', 'table', 'local');
    await listen('host', 9001, '127.9.9.9');
    expect(() => connect('pod1', '127.9.9.9', 9001, 1000)).toThrow('timed out');
    inside('host', 'nft', 'flush', 'chain', 'inet', 'cais_test', 'guard');
    expect(connect('pod1', '127.9.9.9', 9001)).toBe('10.99.0.2');
  });

  test('belong to one pod: all of a request are refused, and removing spares the owner', () => {
    build();
    onHost('addHostPorts', { ...change, ports: [web] });
    onHost('addHostPorts', { ...change, ports: [web] });
    const other = { ...web, podIp: '10.99.0.3' };
    const free = { ...other, hostPort: 8081 };
    expect(() => onHost('addHostPorts', { ...change, ports: [free, other] })).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^(EEXIST|EBUSY)$/) }),
    );
    onHost('removeHostPorts', { ...change, ports: [other] });
    const maps = inside('host', 'nft', 'list', 'map', 'inet', 'cais_test', 'ports4');
    expect(maps).toContain('elements = { tcp . 8080 : 10.99.0.2 . 80 }');
    onHost('ensurePodTable', { ...table, subnet6Cidr: 'fd99::/64' });
    expect(inside('host', 'nft', 'list', 'map', 'inet', 'cais_test', 'ports4')).toBe(maps);
    onHost('removePodTable', 'cais_test');
    onHost('removeHostPorts', { ...change, ports: [web] });
  });

  test('of UDP and SCTP, and a known flow of datagrams turns to the new pod', async () => {
    build();
    const dns = { ...web, protocol: 17, hostPort: 53, podPort: 5353 };
    const sctp = { ...web, protocol: 132 };
    onHost('addHostPorts', { ...change, ports: [dns, sctp] });
    expect(inside('host', 'nft', 'list', 'map', 'inet', 'cais_test', 'ports4')).toContain(
      'sctp . 8080 : 10.99.0.2 . 80',
    );
    await answer('pod1', 5353);
    await answer('pod2', 5353);
    const ask = () => inside('outside', process.execPath, '-e', ASK);
    expect(ask()).toBe('10.99.0.2');
    onHost('removeHostPorts', { ...change, ports: [dns] });
    onHost('addHostPorts', { ...change, ports: [{ ...dns, podIp: '10.99.0.3' }] });
    expect(ask()).toBe('10.99.0.2');
    onHost('forgetUdpFlows', { hostPorts: [53], podIps: [] });
    expect(ask()).toBe('10.99.0.3');
    onHost('removeHostPorts', { ...change, ports: [{ ...dns, podIp: '10.99.0.3' }] });
    onHost('forgetUdpFlows', { hostPorts: [], podIps: ['10.99.0.3', 'fd99::3'] });
    expect(ask()).toBe('nobody');
  });
});
