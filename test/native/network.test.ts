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
  execFileSync('ip', ['netns', 'exec', name(role), ...command], { encoding: 'utf8' });

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
async function listen(role: string, port: number): Promise<void> {
  const script = `require('net').createServer((s) => s.end(s.remoteAddress)).listen(${port}, '0.0.0.0', () => console.log('listening'))`;
  const child = spawn('ip', ['netns', 'exec', name(role), process.execPath, '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  await new Promise((resolve) => createInterface(child.stdout).once('line', resolve));
}

function connect(role: string, address: string, port: number): string {
  const script = `const s = require('net').connect({host:'${address}',port:${port},timeout:5000}); s.on('data', (d) => process.stdout.write(d)); s.on('timeout', () => s.destroy(new Error('timed out')))`;
  return inside(role, process.execPath, '-e', script);
}

const pod = (role: string, address: string) => ({
  netnsPath: `/run/netns/${name(role)}`,
  bridge: 'cais-br',
  hostName: `cv${tag}${role.slice(-1)}`,
  addressCidr: `${address}/24`,
  gateway: GATEWAY,
});
const bridge = { name: 'cais-br', addressCidr: `${GATEWAY}/24` };
const masquerade = { table: 'cais_test', bridge: 'cais-br', subnetCidr: SUBNET };

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
    onHost('ensureMasquerade', masquerade);
    expect(inside('host', 'cat', '/proc/sys/net/ipv4/ip_forward')).toBe('1\n');
    const mac = onHost('addPodInterface', pod('pod1', '10.99.0.2'));
    expect(mac).toEqual({ macAddress: '0a:58:0a:63:00:02' });
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

describe('ensureMasquerade(), removeMasquerade()', () => {
  test('make one table with one rule, however often', () => {
    onHost('ensureMasquerade', masquerade);
    onHost('ensureMasquerade', { ...masquerade, subnetCidr: '10.98.0.0/16' });
    onHost('ensureMasquerade', masquerade);
    const rules = inside('host', 'nft', 'list', 'ruleset').replace(/\s+/g, ' ').trim();
    expect(rules).toBe(
      'table inet cais_test { chain postrouting { type nat hook postrouting priority srcnat; policy accept; ' +
        'ip saddr 10.99.0.0/24 oifname != "cais-br" masquerade fully-random } }',
    );
    onHost('removeMasquerade', 'cais_test');
    onHost('removeMasquerade', 'cais_test');
    expect(inside('host', 'nft', 'list', 'ruleset')).toBe('');
  });

  test.each(['10.99.0.0', '10.99.0.0/33', '10.99.0/24', 'x', '10.99.0.0/'])(
    'refuse the subnet "%s"',
    (subnetCidr) => {
      expect(() => onHost('ensureMasquerade', { ...masquerade, subnetCidr })).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
      );
    },
  );
});
