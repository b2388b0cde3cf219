import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { InvalidArgumentError, ResourceExhaustedError } from '../../src/errors.js';
import { OneTimeTokens } from '../../src/stream/one-time-tokens.js';
import { connectSpdy, requestUpgrade, SPDY_UPGRADE, SpdyClient } from './spdy-client.js';
import { eventually, execRequest, shell, startRig, statusOf } from './streaming-rig.js';

const V4 = { ...SPDY_UPGRADE, 'X-Stream-Protocol-Version': 'v4.channel.k8s.io' };

afterEach(() => {
  vi.useRealTimers();
});

describe('URLs', () => {
  test('lead to loopback, and hold a token that cannot be guessed', async () => {
    const { server } = await startRig();
    const url = new URL(server.execUrl(shell('true')));
    expect(url.protocol).toBe('http:');
    expect(url.hostname).toBe('127.0.0.1');
    expect(url.pathname).toMatch(/^\/exec\/[A-Za-z0-9_-]{32}$/);
    const request = execRequest(['x']);
    expect(server.attachUrl(request)).toMatch(/\/attach\/[\w-]{32}$/);
    expect(server.portForwardUrl({ sandboxId: 's' })).toMatch(/\/portforward\/[\w-]{32}$/);
  });

  test('name a host that can be reached when the server listens everywhere', async () => {
    const { server } = await startRig({}, { address: '0.0.0.0' });
    expect(new URL(server.baseUrl).hostname).toBe('127.0.0.1');
  });

  test.each([
    ['no container', { containerId: '' }],
    ['a terminal with stderr', { terminal: true }],
    ['no stream', { stdout: false, stderr: false }],
    ['no command', { command: [] }],
  ])('are refused for an exec with %s', async (_, options) => {
    const { server } = await startRig();
    expect(() => server.execUrl(shell('true', options))).toThrow(InvalidArgumentError);
  });

  test('are refused for an attach or a port-forward that cannot work', async () => {
    const { server } = await startRig();
    const attach = execRequest([], { terminal: true });
    expect(() => server.attachUrl(attach)).toThrow(InvalidArgumentError);
    expect(() => server.portForwardUrl({ sandboxId: '' })).toThrow(InvalidArgumentError);
    const ports = { sandboxId: 's', ports: [0] };
    expect(() => server.portForwardUrl(ports)).toThrow(InvalidArgumentError);
  });

  test('work once', async () => {
    const { server } = await startRig();
    const url = server.execUrl(shell('true'));
    const client = await connectSpdy(url);
    expect((await requestUpgrade({ url, headers: V4 })).status).toBe(404);
    client.destroy();
  });

  test('work only for what they were made for', async () => {
    const { server } = await startRig();
    const url = server.execUrl(shell('true')).replace('/exec/', '/attach/');
    expect((await requestUpgrade({ url, headers: V4 })).status).toBe(404);
  });

  test.each(['/', '/exec', '/exec/', '/exec/unknown', '/exec/a/b', `/exec/${'a'.repeat(500)}`])(
    'with the path %s are not found',
    async (path) => {
      const { server } = await startRig();
      const url = server.baseUrl + path;
      expect((await requestUpgrade({ url, headers: V4 })).status).toBe(404);
      expect((await fetch(url)).status).toBe(404);
    },
  );

  test('end after their time', async () => {
    const { server } = await startRig({ tokenLifetimeMs: 50 });
    const url = server.execUrl(shell('true'));
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect((await requestUpgrade({ url, headers: V4 })).status).toBe(404);
  });

  test('may wait in a limited number', async () => {
    const { server } = await startRig();
    for (let index = 0; index < 1000; index++) server.execUrl(shell('true'));
    const error = (() => {
      try {
        return server.attachUrl(execRequest(['x']));
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(error).toBeInstanceOf(ResourceExhaustedError);
    expect(error).toMatchObject({ code: 'RESOURCE_EXHAUSTED', retryAfterSeconds: 60 });
  });
});

describe('OneTimeTokens', () => {
  test('a token lives for a minute, and what it stood for is forgotten then', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    const tokens = new OneTimeTokens<string>({ lifetimeMs: 60_000, capacity: 2 });
    const first = tokens.issue('first');
    vi.advanceTimersByTime(59_000);
    const second = tokens.issue('second');
    expect(tokens.redeem(first)).toBe('first');
    expect(tokens.redeem(first)).toBeUndefined();
    vi.advanceTimersByTime(61_000);
    expect(tokens.redeem(second)).toBeUndefined();
    tokens.issue('third');
    vi.advanceTimersByTime(121_000);
    expect(tokens.size).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('a token that has been used makes room', () => {
    const tokens = new OneTimeTokens<number>({ lifetimeMs: 60_000, capacity: 1 });
    tokens.redeem(tokens.issue(1));
    const token = tokens.issue(2);
    expect(() => tokens.issue(3)).toThrow(ResourceExhaustedError);
    expect(tokens.redeem(token)).toBe(2);
    tokens.clear();
  });
});

describe('the upgrade', () => {
  test('chooses the first version of the client that the server knows', async () => {
    const { server } = await startRig();
    for (const versions of [
      ['v5.channel.k8s.io', 'v4.channel.k8s.io', 'v3.channel.k8s.io'],
      'v5.channel.k8s.io, v4.channel.k8s.io,v3.channel.k8s.io',
    ]) {
      const answer = await requestUpgrade({
        url: server.execUrl(shell('true')),
        headers: { ...SPDY_UPGRADE, 'X-Stream-Protocol-Version': versions },
      });
      expect(answer.status).toBe(101);
      expect(answer.headers).toMatchObject({
        connection: 'Upgrade',
        upgrade: 'SPDY/3.1',
        'x-stream-protocol-version': 'v4.channel.k8s.io',
      });
      answer.socket?.destroy();
    }
  });

  test('takes GET, a list in Connection and names in any case', async () => {
    const { server } = await startRig();
    const answer = await requestUpgrade({
      url: server.execUrl(shell('true')),
      method: 'GET',
      headers: {
        connection: 'keep-alive, uPGRADE',
        UPGRADE: 'spdy/3.1',
        'x-STREAM-protocol-version': 'channel.k8s.io',
      },
    });
    expect(answer.status).toBe(101);
    answer.socket?.destroy();
  });

  test.each([
    ['no version', SPDY_UPGRADE, 400],
    ['an unknown version', { ...SPDY_UPGRADE, 'X-Stream-Protocol-Version': 'v9' }, 403],
    ['no upgrade', {}, 400],
    ['another upgrade', { Connection: 'Upgrade', Upgrade: 'h2c' }, 400],
  ])('is refused with %s', async (_, headers, status) => {
    const { server, backend } = await startRig();
    const url = server.execUrl(shell('true'));
    const answer = await requestUpgrade({ url, headers });
    expect(answer.status).toBe(status);
    if (status === 403) {
      expect(answer.headers['x-accepted-stream-protocol-versions']).toBe(
        'v4.channel.k8s.io, v3.channel.k8s.io, v2.channel.k8s.io, channel.k8s.io',
      );
    }
    expect(backend.execs).toEqual([]);
    await eventually(() => server.openConnections === 0);
  });

  test('is refused for other methods, and the URL stays good', async () => {
    const { server } = await startRig();
    const url = server.execUrl(shell('true'));
    expect((await requestUpgrade({ url, method: 'PUT', headers: V4 })).status).toBe(405);
    (await connectSpdy(url)).destroy();
  });

  test('bytes that come together with the request belong to SPDY', async () => {
    const { server } = await startRig();
    const url = new URL(server.execUrl(shell('true')));
    const socket = connect({ host: '127.0.0.1', port: Number(url.port) });
    const head = `POST ${url.pathname} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n`;
    socket.write(
      Buffer.concat([Buffer.from(head), Buffer.from('800300060000000400000001', 'hex')]),
    );
    let answer = Buffer.alloc(0);
    socket.on('data', (chunk) => {
      answer = Buffer.concat([answer, chunk]);
    });
    await eventually(() => answer.includes(Buffer.from('800300060000000400000001', 'hex')));
    socket.destroy();
  });

  test('needs TLS when the server has a certificate', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'cais-stream-tls-'));
    try {
      const [key, certificate] = [join(directory, 'key'), join(directory, 'certificate')];
      const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'];
      execFileSync(
        'openssl',
        [
          'req',
          '-x509',
          '-newkey',
          'rsa:2048',
          '-nodes',
          '-keyout',
          key,
          '-out',
          certificate,
          ...subject,
        ],
        { stdio: 'ignore' },
      );
      const tls = { certificate: readFileSync(certificate), key: readFileSync(key) };
      const { server } = await startRig({}, { tls });
      const url = new URL(server.execUrl(shell('exit 3')));
      expect(url.protocol).toBe('https:');
      const socket = connectTls({ host: '127.0.0.1', port: Number(url.port), ca: tls.certificate });
      socket.write(
        `POST ${url.pathname} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n`,
      );
      const answer = await new Promise<Buffer>((resolve) => socket.once('data', resolve));
      const end = answer.indexOf('\r\n\r\n') + 4;
      expect(answer.subarray(0, 12).toString()).toBe('HTTP/1.1 101');
      const client = new SpdyClient(socket, answer.subarray(end));
      const { error } = await client.openAll('error', 'stdout', 'stderr');
      expect(await statusOf(client, error)).toMatchObject({ reason: 'NonZeroExitCode' });
      await expect(fetch(url.href.replace('https', 'http'))).rejects.toThrow();
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe('times', () => {
  test('a client that does not open its streams is closed', async () => {
    const { server, backend } = await startRig({ setupMs: 100 });
    const client = await connectSpdy(server.execUrl(shell('true')));
    await client.open({ streamtype: 'error' });
    await client.untilClosed();
    expect(backend.execs).toEqual([]);
    await eventually(() => server.openConnections === 0);
  });

  test('a connection on which nothing moves is closed, one that pings is not', async () => {
    const { server, backend } = await startRig({ idleMs: 2000 });
    const start = async () => {
      const client = await connectSpdy(server.execUrl(execRequest(['cat'], { stdin: true })));
      await client.openAll('error', 'stdin', 'stdout', 'stderr');
      return client;
    };
    const [idle, pinging] = await Promise.all([start(), start()]);
    const timer = setInterval(() => pinging.ping(1), 50);
    await idle.untilClosed();
    await eventually(() => backend.lost === 1);
    expect(pinging.closed).toBe(false);
    clearInterval(timer);
    await pinging.untilClosed();
  });

  test('a client that does not close in the end is closed', async () => {
    const { server } = await startRig({ goodbyeMs: 100 });
    const url = new URL(server.execUrl(shell('true')));
    const socket = connect({ host: '127.0.0.1', port: Number(url.port), allowHalfOpen: true });
    socket.resume();
    socket.write(`POST ${url.pathname} HTTP/1.1\r\nHost: x\r\n`);
    socket.write('Connection: Upgrade\r\nUpgrade: nothing\r\n\r\n');
    await new Promise((resolve) => socket.once('end', resolve));
    await eventually(() => server.openConnections === 0);
    socket.destroy();
  });
});

test('the WebSocket library is loaded only when it is needed', async () => {
  const { server } = await startRig();
  const client = await connectSpdy(server.execUrl(shell('true')));
  const { error } = await client.openAll('error', 'stdout', 'stderr');
  await statusOf(client, error);
  const loaded = Object.keys(createRequire(import.meta.url).cache);
  expect(loaded.filter((path) => path.includes('node_modules/ws/'))).toEqual([]);
});

test('closing ends all sessions, and twice is fine', async () => {
  const { server, backend } = await startRig();
  const client = await connectSpdy(server.execUrl(execRequest(['cat'], { stdin: true })));
  await client.openAll('error', 'stdin', 'stdout', 'stderr');
  await server.close();
  await server.close();
  await client.untilClosed();
  await eventually(() => backend.children.size === 0);
});
