import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { NativeBinding, NetworkLink } from '../../src/native.js';

// Every test plays in network namespaces of its own: `host` is where the addon runs, `outside` a machine
// beyond it, `pod1` and `pod2` what it connects. No link, address or rule of this machine is touched.
const ADDON = join(import.meta.dirname, '../../build/Release/cais.node');
const SUBNET = '10.99.0.0/24';
const GATEWAY = '10.99.0.1';

let tag: string;
const children: ChildProcess[] = [];
const name = (role: string) => `cais-${tag}-${role}`;
const ip = (...args: string[]) => execFileSync('ip', args, { encoding: 'utf8', stdio: 'pipe' });
const inside = (role: string, ...command: string[]) =>
  execFileSync('ip', ['netns', 'exec', name(role), ...command], {
    encoding: 'utf8',
    stdio: 'pipe',
  });

type AsyncExport = {
  [K in keyof NativeBinding]: NativeBinding[K] extends (...args: never[]) => Promise<unknown>
    ? K
    : never;
}[keyof NativeBinding];

/** Calls one export of the addon in a process inside the `host` namespace. */
function onHost<K extends AsyncExport>(
  exported: K,
  ...args: Parameters<NativeBinding[K]>
): Awaited<ReturnType<NativeBinding[K]>> {
  const script = `
    const native = require(${JSON.stringify(ADDON)});
    native.setErrorClass(class { constructor(fields) { Object.assign(this, fields); } });
    native[${JSON.stringify(exported)}](...${JSON.stringify(args)}).then(
      (value) => console.log(JSON.stringify({ value })),
      (error) => console.log(JSON.stringify({ error })));`;
  const { value, error } = JSON.parse(inside('host', process.execPath, '-e', script));
  if (error !== undefined) throw Object.assign(new Error(error.message), error);
  return value;
}

/** A TCP server that answers with the address it sees its client under. */
async function listen(role: string, port: number, address = '0.0.0.0'): Promise<void> {
  const script = `require('net').createServer((s) => s.on('error', () => {}).end(s.remoteAddress)).listen(${port}, '${address}', () => console.log('listening'))`;
  await start(role, script);
}

/** Starts a server and waits for its first line. */
async function start(role: string, script: string): Promise<void> {
  const child = spawn('ip', ['netns', 'exec', name(role), process.execPath, '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  await new Promise((resolve) => createInterface(child.stdout).once('line', resolve));
}

function connect(role: string, address: string, port: number, timeout = 5000): string {
  const script = `const s = require('net').connect({host:'${address}',port:${port},timeout:${timeout}}); s.on('data', (d) => process.stdout.write(d)); s.on('timeout', () => s.destroy(new Error('timed out')))`;
  return inside(role, process.execPath, '-e', script);
}

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

const pod = (role: string, address: string) => ({
  netnsPath: `/run/netns/${name(role)}`,
  bridge: 'cais-br',
  hostName: `cv${tag}${role.slice(-1)}`,
  addressCidr: `${address}/24`,
  gateway: GATEWAY,
});
const bridge = { name: 'cais-br', addressCidr: `${GATEWAY}/24` };
const table = { table: 'cais_test', bridge: 'cais-br', subnetCidr: SUBNET };

beforeEach(() => {
  tag = randomBytes(4).toString('hex');
  for (const role of ['host', 'pod1', 'pod2', 'outside']) ip('netns', 'add', name(role));
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const role of ['host', 'pod1', 'pod2', 'outside']) ip('netns', 'del', name(role));
});

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
