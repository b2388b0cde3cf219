import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RecordStore } from '../../../src/record-store.js';
import { CniNetwork } from '../../../src/sandbox/cni/cni-network.js';

/** What a plugin was called with. */
interface Call {
  readonly plugin: string;
  readonly command: string;
  readonly env: Record<string, string>;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it by hand.
  readonly config: any;
}

let directory: string;
let records: RecordStore;
const at = (name: string) => join(directory, name);

/** A plugin that notes its call and does what the files say: `<type>-<command>` is sourced, `result` is the answer to ADD. */
function installPlugin(type: string): void {
  const script = `#!/bin/sh
    call="${at('calls')}/$(date +%s%N)-${type}-$CNI_COMMAND"
    cat > "$call.stdin"
    env > "$call.env"
    if [ -f "${at('behaviour')}/${type}-$CNI_COMMAND" ]; then . "${at('behaviour')}/${type}-$CNI_COMMAND"; fi
    if [ "$CNI_COMMAND" = ADD ]; then cat "${at('result')}"; fi`;
  writeFileSync(join(at('bin'), type), script);
  chmodSync(join(at('bin'), type), 0o755);
}

function behave(plugin: string, command: string, script: string): void {
  writeFileSync(join(at('behaviour'), `${plugin}-${command}`), script);
}

function configure(change: object = {}): void {
  const config = {
    cniVersion: '1.0.0',
    name: 'pods',
    plugins: [{ type: 'first', key: 1, capabilities: { portMappings: true } }, { type: 'second' }],
    ...change,
  };
  writeFileSync(join(at('net.d'), '10-pods.conflist'), JSON.stringify(config));
}

/** The calls since the last question, in order. */
function calls(): Call[] {
  const names = readdirSync(at('calls'))
    .filter((name) => name.endsWith('.stdin'))
    .sort();
  return names.map((file) => {
    const path = join(at('calls'), file);
    const env = readFileSync(path.replace(/stdin$/, 'env'), 'utf8')
      .trim()
      .split('\n');
    const [, plugin = '', command = ''] = file.replace('.stdin', '').split('-');
    const config = JSON.parse(readFileSync(path, 'utf8'));
    rmSync(path);
    return {
      plugin,
      command,
      config,
      env: Object.fromEntries(env.map((line) => line.split(/=(.*)/s))),
    };
  });
}
const order = () => calls().map(({ plugin, command }) => `${plugin} ${command}`);

function network(timeoutMs = 20_000): CniNetwork {
  return new CniNetwork({
    config: { confDir: at('net.d'), binDirs: [at('none'), at('bin')], timeoutMs },
    native: { setLoopbackUp: async () => undefined },
    records,
  });
}
const pod = () => ({
  netnsPath: at('netns'),
  config: {
    name: 'web',
    namespace: 'default',
    uid: 'u1',
    portMappings: [{ protocol: 'tcp' as const, hostPort: 8080, containerPort: 80 }],
  },
});
const RESULT = {
  cniVersion: '1.0.0',
  interfaces: [{ name: 'eth0', sandbox: '/netns' }],
  ips: [{ address: '10.7.0.2/24', interface: 0 }],
};

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cais-cni-'));
  for (const name of ['bin', 'calls', 'behaviour', 'net.d']) mkdirSync(at(name));
  for (const type of ['first', 'second']) installPlugin(type);
  writeFileSync(at('result'), JSON.stringify(RESULT));
  writeFileSync(at('netns'), '');
  configure();
  records = RecordStore.open(at('meta'));
});

afterEach(async () => {
  await records.close();
  rmSync(directory, { recursive: true, force: true });
});

describe('attach(), detach()', () => {
  test('ADD by each plugin with the result of the one before, DEL the other way round with the last', async () => {
    const cni = network();
    expect(await cni.attach('abc', pod())).toEqual({ ip: '10.7.0.2', additionalIps: [] });
    const [first, second] = calls();
    expect(first).toMatchObject({ plugin: 'first', command: 'ADD' });
    expect(first?.config).toEqual({
      type: 'first',
      key: 1,
      cniVersion: '1.0.0',
      name: 'pods',
      runtimeConfig: {
        portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '' }],
      },
    });
    const { PWD: _, SHLVL: __, OLDPWD: ___, ...env } = first?.env ?? {};
    const expected = {
      CNI_COMMAND: 'ADD',
      CNI_CONTAINERID: 'abc',
      CNI_NETNS: at('netns'),
      CNI_IFNAME: 'eth0',
      CNI_ARGS:
        'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=abc;K8S_POD_UID=u1',
      CNI_PATH: `${at('none')}:${at('bin')}`,
      PATH: process.env['PATH'],
    };
    expect(env).toMatchObject(expected);
    expect(Object.keys(env).filter((name) => !(name in expected) && name !== '_')).toEqual([]);
    expect(second?.config).toEqual({
      type: 'second',
      cniVersion: '1.0.0',
      name: 'pods',
      prevResult: RESULT,
    });

    // What counts is the configuration of the ADD.
    configure({ name: 'other', plugins: [{ type: 'first' }] });
    await network().detach('abc');
    const deleted = calls();
    expect(deleted.map(({ plugin, command }) => `${plugin} ${command}`)).toEqual([
      'second DEL',
      'first DEL',
    ]);
    for (const { config, env: given } of deleted) {
      expect(config).toMatchObject({ name: 'pods', prevResult: RESULT });
      expect(given['CNI_NETNS']).toBe(at('netns'));
    }
    expect(deleted[1]?.config.runtimeConfig.portMappings).toHaveLength(1);
    await cni.detach('abc');
    expect(calls()).toEqual([]);
  });

  test('DEL has no result to tell before version 0.4.0', async () => {
    configure({ cniVersion: '0.3.1' });
    const cni = network();
    await cni.attach('abc', pod());
    await cni.detach('abc');
    expect(calls().map(({ config }) => [config.cniVersion, config.prevResult])).toEqual([
      ['0.3.1', undefined],
      ['0.3.1', RESULT],
      ['0.3.1', undefined],
      ['0.3.1', undefined],
    ]);
  });

  test('DEL takes a held namespace, or none, when the path leads elsewhere by now', async () => {
    const cni = network();
    const netnsOf = async (options: { netnsPath?: string }) => {
      await cni.attach('abc', pod());
      calls();
      // While the old one is there: its number would be given again.
      writeFileSync(at('another'), '');
      renameSync(at('another'), at('netns'));
      await cni.detach('abc', options);
      return calls().map(({ env }) => env['CNI_NETNS']);
    };
    expect(await netnsOf({ netnsPath: '/proc/1/fd/9' })).toEqual(['/proc/1/fd/9', '/proc/1/fd/9']);
    expect(await netnsOf({})).toEqual(['', '']);
  });

  test('a failed ADD says what the plugin said, and DEL by all undoes it', async () => {
    behave(
      'second',
      'ADD',
      `echo '{"cniVersion":"1.0.0","code":11,"msg":"no address","details":"range is full"}'; exit 1`,
    );
    await expect(network().attach('abc', pod())).rejects.toMatchObject({
      code: 'CNI_FAILED',
      plugin: 'second',
      command: 'ADD',
      cniCode: 11,
      details: 'range is full',
      message:
        'Network plugin "second" failed to ADD: no address; range is full (code 11, try again later)',
    });
    const made = calls();
    expect(made.map(({ plugin, command }) => `${plugin} ${command}`)).toEqual([
      'first ADD',
      'second ADD',
      'second DEL',
      'first DEL',
    ]);
    expect(made[2]?.config.prevResult).toBeUndefined();
    await network().detach('abc');
    expect(calls()).toEqual([]);
  });

  test('a failed DEL is tried again by the next call, and by collect()', async () => {
    const cni = network();
    await cni.attach('abc', pod());
    calls();
    behave('first', 'DEL', 'echo "out of order" >&2; exit 3');
    await expect(cni.detach('abc')).rejects.toThrow(
      'Network plugin "first" failed to DEL: exit code 3: out of order',
    );
    await expect(network().collect(() => false)).rejects.toThrow('out of order');
    behave('first', 'DEL', '');
    await network().collect(() => true);
    await network().collect(() => false);
    expect(order()).toEqual(Array.from({ length: 3 }, () => ['second DEL', 'first DEL']).flat());
    await cni.detach('abc');
    expect(calls()).toEqual([]);
  });

  test('what a kill left of an ADD is deleted before the next one', async () => {
    // The plugin takes its caller's record as it is in the middle.
    await network().attach('abc', pod());
    calls();
    await network().attach('abc', pod());
    expect(order()).toEqual(['second DEL', 'first DEL', 'first ADD', 'second ADD']);
  });

  test('a plugin that hangs is killed with what it started, one that floods too', async () => {
    behave('first', 'ADD', 'sleep 300 & echo $! > "$call.sleeper"; wait');
    await expect(network(1_000).attach('abc', pod())).rejects.toThrow(
      'Network plugin "first" failed to ADD: killed after 1 s',
    );
    const sleeper = readdirSync(at('calls')).find((name) => name.endsWith('.sleeper')) as string;
    const pid = Number(readFileSync(join(at('calls'), sleeper), 'utf8'));
    await expect.poll(() => isRunning(pid)).toBe(false);
    behave('first', 'ADD', 'yes');
    await expect(network().attach('abc', pod())).rejects.toThrow(
      'killed when it had written 1048576 bytes',
    );
  });

  test.each([
    ['echo hello; exit 0', 'no usable result: not JSON'],
    ['exit 0', 'no usable result: not JSON: ""'],
    [`echo '{"ips":[]}'; exit 0`, 'no address for the pod'],
    ['kill -9 $$', 'killed by SIGKILL'],
  ])('a plugin that does "%s" is an error', async (script, message) => {
    behave('second', 'ADD', script);
    await expect(network().attach('abc', pod())).rejects.toThrow(message);
    expect(order().slice(-2)).toEqual(['second DEL', 'first DEL']);
  });

  test('a plugin that nobody installed is an error that names the directories', async () => {
    configure({ plugins: [{ type: 'absent' }] });
    const cni = network();
    await expect(cni.attach('abc', pod())).rejects.toThrow(
      `Network plugin "absent" is in none of the directories ${at('none')}, ${at('bin')}`,
    );
  });
});

describe('check()', () => {
  test('asks each plugin with the result of the ADD', async () => {
    const cni = network();
    await cni.attach('abc', pod());
    calls();
    await cni.check('abc');
    expect(
      calls().map(({ plugin, command, config }) => [plugin, command, config.prevResult]),
    ).toEqual([
      ['first', 'CHECK', RESULT],
      ['second', 'CHECK', RESULT],
    ]);
    behave('first', 'CHECK', `echo '{"code":100,"msg":"link is gone"}'; exit 1`);
    await expect(cni.check('abc')).rejects.toMatchObject({ cniCode: 100 });
    await expect(cni.check('unknown')).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
  });

  test.each([{ cniVersion: '0.3.1' }, { disableCheck: true }])(
    'does not with %j',
    async (change) => {
      configure(change);
      const cni = network();
      await cni.attach('abc', pod());
      calls();
      await cni.check('abc');
      expect(calls()).toEqual([]);
    },
  );
});

describe('collectGarbage()', () => {
  test('tells each plugin which attachments are left', async () => {
    configure({ cniVersion: '1.1.0' });
    const cni = network();
    await cni.attach('abc', pod());
    calls();
    behave('first', 'GC', 'echo broken >&2; exit 1');
    expect(await cni.collectGarbage()).toEqual([
      'Network plugin "first" failed to GC: exit code 1: broken',
    ]);
    const made = calls();
    expect(made.map(({ plugin, command }) => `${plugin} ${command}`)).toEqual([
      'first GC',
      'second GC',
    ]);
    expect(made[1]?.config).toMatchObject({
      name: 'pods',
      'cni.dev/valid-attachments': [{ containerID: 'abc', ifname: 'eth0' }],
    });
    expect(made[1]?.env['CNI_CONTAINERID']).toBeUndefined();
  });

  test.each([{ cniVersion: '1.0.0' }, { cniVersion: '1.1.0', disableGC: true }])(
    'does not with %j',
    async (change) => {
      configure(change);
      expect(await network().collectGarbage()).toEqual([]);
      expect(calls()).toEqual([]);
    },
  );
});

describe('status()', () => {
  test('is what the plugins say where the version has it', async () => {
    configure({ cniVersion: '1.1.0' });
    expect(await network().status()).toEqual({ ready: true, reason: '', message: '' });
    expect(order()).toEqual(['first STATUS', 'second STATUS']);
    behave('second', 'STATUS', `echo '{"code":50,"msg":"no uplink"}'; exit 1`);
    expect(await network().status()).toEqual({
      ready: false,
      reason: 'NetworkPluginNotReady',
      message: 'Network plugin "second" failed to STATUS: no uplink (code 50, not available)',
    });
  });

  test('asks older plugins nothing, but they must be there', async () => {
    expect((await network().status()).ready).toBe(true);
    expect(calls()).toEqual([]);
    rmSync(join(at('bin'), 'second'));
    expect(await network().status()).toMatchObject({
      ready: false,
      message: expect.stringContaining('"second" is in none of the directories'),
    });
  });

  test('says which file is wrong', async () => {
    writeFileSync(join(at('net.d'), '10-pods.conflist'), '{');
    expect(await network().status()).toEqual({
      ready: false,
      reason: 'NetworkPluginNotReady',
      message: expect.stringContaining(`"${at('net.d')}/10-pods.conflist": not JSON`),
    });
  });
});

function isRunning(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
}
