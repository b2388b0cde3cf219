import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { loadNative } from '../../src/native.js';
import { ServiceManager } from '../../src/operation/service-manager.js';
import { DatagramReceiver } from '../fixtures/datagram-receiver.js';

let directory: string;
let failures: unknown[];
const native = loadNative();

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cais-notify-'));
  failures = [];
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const take = (environment: NodeJS.ProcessEnv) =>
  ServiceManager.take(environment, { native, onFailure: (error) => failures.push(error) });

it.each(['path', 'abstract'])(
  'tells systemd about its life, by a socket with a %s',
  async (kind) => {
    const place = kind === 'path' ? join(directory, 'notify') : `@cais-test-${process.pid}`;
    const receiver = await DatagramReceiver.start(place);
    try {
      const environment = {
        NOTIFY_SOCKET: place,
        WATCHDOG_USEC: '40000',
        WATCHDOG_PID: String(process.pid),
        OTHER: 'x',
      };
      const manager = take(environment);
      // What this process starts must not speak for it.
      expect(environment).toEqual({ OTHER: 'x' });
      manager.ready('one\ntwo');
      expect(await receiver.next()).toBe(`READY=1\nSTATUS=one two\nMAINPID=${process.pid}`);
      expect(await receiver.next()).toBe('WATCHDOG=1');
      expect(await receiver.next()).toBe('WATCHDOG=1');
      manager.close();
      manager.stopping();
      let last = await receiver.next();
      while (last === 'WATCHDOG=1') last = await receiver.next();
      expect(last).toBe('STOPPING=1');
      expect(failures).toEqual([]);
    } finally {
      await receiver.stop();
    }
  },
);

it('leaves a watchdog alone that is meant for another process', async () => {
  const receiver = await DatagramReceiver.start(join(directory, 'notify'));
  try {
    const manager = take({
      NOTIFY_SOCKET: join(directory, 'notify'),
      WATCHDOG_USEC: '1000',
      WATCHDOG_PID: '1',
    });
    manager.ready('');
    await receiver.next();
    await new Promise((resolve) => setTimeout(resolve, 50));
    manager.stopping();
    expect(await receiver.next()).toBe('STOPPING=1');
  } finally {
    await receiver.stop();
  }
});

it('is silent without systemd, and lives on when systemd is deaf', () => {
  take({}).ready('x');
  take({ NOTIFY_SOCKET: 'vsock:2:1' }).ready('x');
  expect(failures).toEqual([]);
  take({ NOTIFY_SOCKET: join(directory, 'nobody') }).ready('x');
  take({ NOTIFY_SOCKET: `/${'x'.repeat(200)}` }).stopping();
  expect(failures).toMatchObject([{ code: 'ENOENT' }, { code: 'ENAMETOOLONG' }]);
});

it.skipIf(!existsSync('/usr/bin/systemd-analyze'))(
  'the unit file is one that systemd takes',
  () => {
    const unit = join(import.meta.dirname, '../../packaging/cais.service');
    const output = execFileSync(
      'sh',
      ['-c', 'systemd-analyze verify "$1" 2>&1 || true', 'sh', unit],
      {
        encoding: 'utf8',
      },
    );
    // The program itself is not installed here.
    const complaints = output.split('\n').filter((line) => line.includes('cais.service'));
    expect(complaints.filter((line) => !line.includes('/usr/local/bin/cais'))).toEqual([]);
  },
);
