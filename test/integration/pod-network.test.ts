import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { loadNative } from '../../src/native.js';
import { CniNetwork } from '../../src/sandbox/cni/cni-network.js';
import { ContainerRig, type RigEngine } from '../fixtures/container-rig.js';

let rig: ContainerRig;
const children: ChildProcess[] = [];

beforeAll(async () => {
  rig = await ContainerRig.open();
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});
afterAll(() => rig.close());

/** A server inside a sandbox's network that waits for the end of what it is sent, and then answers with it. */
async function serve(netnsPath: string, listen: string): Promise<void> {
  const script = `
    const server = require('net').createServer({ allowHalfOpen: true }, (socket) => {
      let text = '';
      socket.on('data', (data) => { text += data; });
      socket.on('end', () => socket.end('heard ' + text));
    });
    server.listen(${listen}, () => console.log('listening'));`;
  const child = spawn('nsenter', [`--net=${netnsPath}`, process.execPath, '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  await once(createInterface(child.stdout), 'line');
}

async function ask(socket: Socket, question: string): Promise<string> {
  let answer = '';
  socket.on('data', (data) => {
    answer += data;
  });
  socket.end(question);
  await once(socket, 'end');
  socket.destroy();
  return answer;
}

describe('dial()', () => {
  let engine: RigEngine;
  beforeAll(() => {
    engine = rig.engine();
  });
  afterAll(() => engine.close());
  const run = (change: object = {}) => engine.sandboxes.run(rig.sandboxConfig(change));

  test('reaches what listens on the loopback of the pod, by either family, with one half closed', async () => {
    const { id, netnsPath = '' } = await run();
    await serve(netnsPath, "7000, '127.0.0.1'");
    await serve(netnsPath, "7001, '::1'");
    const { sandboxes } = engine;
    expect(await ask(await sandboxes.dial(id, 7000), 'one')).toBe('heard one');
    expect(await ask(await sandboxes.dial(id, 7001), 'two')).toBe('heard two');
    const large = 'x'.repeat(3 << 20);
    const answers = await Promise.all(
      Array.from({ length: 20 }, async () => ask(await sandboxes.dial(id, 7000), large)),
    );
    for (const answer of answers) expect(answer.length).toBe(large.length + 'heard '.length);
    await expect(sandboxes.dial(id, 7002)).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      message: expect.stringContaining('port 7002'),
    });
    await sandboxes.remove(id);
    await expect(sandboxes.dial(id, 7000)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('reaches the host for a pod on its network', async () => {
    const server = createServer((socket) => socket.end('host')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const { id } = await run({ hostNetwork: true });
    expect(await ask(await engine.sandboxes.dial(id, port), '')).toBe('host');
    server.close();
    await once(server, 'close');
    await expect(engine.sandboxes.dial(id, port)).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
    });
    await engine.sandboxes.remove(id);
  });

  test('stops waiting when it is told to, and refuses a pod that is not running', async () => {
    const { id } = await run();
    const { sandboxes } = engine;
    await expect(sandboxes.dial(id, 7000, { signal: AbortSignal.abort() })).rejects.toThrow(
      'aborted',
    );
    await expect(sandboxes.dial(id, 0)).rejects.toThrow('expected 1 to 65535');
    await sandboxes.stop(id, { graceMs: 0 });
    await expect(sandboxes.dial(id, 7000)).rejects.toThrow(`Sandbox "${id}" is not running`);
    await sandboxes.remove(id);
  });
});

describe('a stop on a CNI network', () => {
  test('lets the plugins into the namespace although its last process is gone', async () => {
    const at = (name: string) => join(rig.directory, name);
    for (const name of ['net.d', 'bin']) mkdirSync(at(name));
    const plugin = `#!/bin/sh
      cat > /dev/null
      echo "$CNI_COMMAND $(stat -Lc %i "$CNI_NETNS")" >> "${at('namespaces')}"
      if [ "$CNI_COMMAND" = ADD ]; then echo '{"ips":[{"address":"10.7.0.2/24"},{"address":"fd07::2/64"}]}'; fi`;
    writeFileSync(at('bin/note'), plugin);
    chmodSync(at('bin/note'), 0o755);
    const configuration = { cniVersion: '1.0.0', name: 'note', type: 'note' };
    writeFileSync(at('net.d/10-note.conf'), JSON.stringify(configuration));
    const config = { confDir: at('net.d'), binDirs: [at('bin')], timeoutMs: 20_000 };
    const engine = rig.engine(new CniNetwork({ config, native: loadNative(), records: rig.store }));
    const { sandboxes } = engine;
    const record = await sandboxes.run(rig.sandboxConfig());
    expect(record).toMatchObject({ ip: '10.7.0.2', additionalIps: ['fd07::2'] });
    await sandboxes.stop(record.id, { graceMs: 0 });
    expect(sandboxes.get(record.id)?.additionalIps).toBeUndefined();
    const [added, deleted, more] = readFileSync(at('namespaces'), 'utf8').trim().split('\n');
    expect(added).toMatch(/^ADD \d+$/);
    expect(deleted).toBe(added?.replace('ADD', 'DEL'));
    expect(more).toBeUndefined();
    await sandboxes.remove(record.id);
    await engine.close();
  });
});
