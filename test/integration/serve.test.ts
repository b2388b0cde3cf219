import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { credentials } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { RuntimeServiceClient } from '../../src/cri/generated/api.js';
import { PromiseClient } from '../cri/promise-client.js';
import { DatagramReceiver } from '../fixtures/datagram-receiver.js';
import { expectNoLeaks } from '../fixtures/leak-check.js';
import { CAIS, finished } from './cli-fixture.js';

let directory: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cais-serve-'));
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
  }
  const [root, run] = [join(directory, 'root'), join(directory, 'run')];
  await expectNoLeaks({ root, run, cgroupParent: cgroupParent() });
  rmSync(directory, { recursive: true, force: true });
});

const cgroupParent = () => `cais-serve-${directory.slice(-6)}`;

/** Writes a configuration file and starts `cais serve` by it. */
function start(serve: object, environment: NodeJS.ProcessEnv = {}): ChildProcess {
  const path = join(directory, 'config.yaml');
  const settings = {
    root: join(directory, 'root'),
    run: join(directory, 'run'),
    cgroupParent: cgroupParent(),
    serve,
  };
  writeFileSync(path, JSON.stringify(settings));
  const { CAIS_ROOT: _root, CAIS_RUN: _run, ...env } = process.env;
  const child = spawn(CAIS, ['serve', '--config', path], {
    env: { ...env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  return child;
}

/** Events of the log, until one has this message. */
async function logged(child: ChildProcess, message: string): Promise<Record<string, unknown>[]> {
  const events: Record<string, unknown>[] = [];
  if (child.stderr === null) throw new Error('no standard error');
  for await (const line of createInterface({ input: child.stderr })) {
    const event = JSON.parse(line) as Record<string, unknown>;
    events.push(event);
    if (event['message'] === message) return events;
  }
  throw new Error(`ended without ${JSON.stringify(message)}: ${JSON.stringify(events)}`);
}

it('serves by its configuration file, tells systemd, counts calls, and ends in order', async () => {
  const receiver = await DatagramReceiver.start(join(directory, 'notify'));
  try {
    const child = start(
      { metricsAddress: '127.0.0.1:0' },
      { NOTIFY_SOCKET: join(directory, 'notify'), WATCHDOG_USEC: '200000' },
    );
    const events = await logged(child, 'serving');
    const socket = join(directory, 'run', 'cais.sock');
    expect(await receiver.next()).toBe(
      `READY=1\nSTATUS=Serving at ${socket}\nMAINPID=${child.pid}`,
    );
    expect(await receiver.next()).toBe('WATCHDOG=1');
    expect(statSync(socket).mode & 0o777).toBe(0o600);

    const client = new PromiseClient(
      new RuntimeServiceClient(`unix:${socket}`, credentials.createInsecure()),
    );
    const { runtimeName } = await client.call('version', { version: '' });
    expect(runtimeName).toBe('cais');
    client.client.close();
    const url = String(events.find(({ message }) => message === 'serving metrics')?.['url']);
    const text = await (await fetch(url)).text();
    expect(text).toMatch(/cais_rpc_duration_seconds_count\{method="[^"]*Version",code="OK"\} 1/);

    const second = await finished(start({ metricsAddress: '127.0.0.1:0' }));
    expect(second.code).not.toBe(0);
    expect(second.stderr).toContain(`already (pid ${child.pid})`);

    const result = finished(child);
    child.kill('SIGTERM');
    const { code } = await result;
    expect(code).toBe(0);
    let last = await receiver.next();
    while (last === 'WATCHDOG=1') last = await receiver.next();
    expect(last).toBe('STOPPING=1');
    expect(existsSync(socket)).toBe(false);
  } finally {
    await receiver.stop();
  }
}, 60_000);

it('refuses a configuration that is wrong, with file and line', async () => {
  const { code, stderr } = await finished(start({ logLevel: 'loud' }));
  expect(code).not.toBe(0);
  expect(stderr).toContain(
    `cais: ${directory}/config.yaml:1: Configuration key "serve.logLevel": expected one of`,
  );
}, 60_000);

it('serves its root again after it was killed', async () => {
  const first = start({});
  await logged(first, 'serving');
  const gone = new Promise((resolve) => first.once('exit', resolve));
  first.kill('SIGKILL');
  await gone;
  const second = start({});
  await logged(second, 'serving');
  const result = finished(second);
  second.kill('SIGINT');
  expect((await result).code).toBe(0);
}, 60_000);
