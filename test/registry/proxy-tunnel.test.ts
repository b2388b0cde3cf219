import { connect, type Socket } from 'node:net';
import { createSecureContext } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ConnectionSettings } from '../../src/registry/connection-settings.js';
import { readBounded } from '../../src/registry/response-body.js';
import { Transport } from '../../src/registry/transport.js';
import { failure } from './client-fixture.js';
import { type Answer, closed, ok, RawServer, selfSigned } from './raw-server.js';

const content = Buffer.from('a manifest');
const certificate = selfSigned();
const secureContext = createSecureContext({ ca: certificate.cert });
const VARIABLES = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'ALL_PROXY'];

let target: RawServer;
let proxy: RawServer;
let transport: Transport;
beforeEach(() => {
  for (const name of VARIABLES) {
    vi.stubEnv(name, undefined);
    vi.stubEnv(name.toLowerCase(), undefined);
  }
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await transport.close();
  await proxy.stop();
  await target.stop();
});

/** Leads to the target, whatever it is asked for. */
const lead: Answer = (socket) => {
  const { port } = target.url();
  const onward = connect(Number(port), '127.0.0.1', () => {
    socket.removeAllListeners('data');
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
    socket.pipe(onward).pipe(socket);
  });
  onward.on('error', () => socket.destroy());
  socket.on('close', () => onward.destroy());
};

async function open(
  answer: Answer,
  { isTls = false, credential = '', isProxyTls = false } = {},
): Promise<void> {
  target = await RawServer.start(
    (socket) => socket.write(ok(content)),
    isTls ? certificate : undefined,
  );
  proxy = await RawServer.start(answer, isProxyTls ? certificate : undefined);
  const connection: ConnectionSettings = {
    secureContext,
    verifiesCertificates: true,
    connectTimeoutMs: undefined,
    proxy: new URL(proxy.url('/').href.replace('://', `://${credential}`)),
  };
  transport = await Transport.open({ maxAttempts: 1, connectTimeoutMs: 400, connection });
}

/** `localhost`, so that the name in the certificate counts, too. */
const request = () => ({
  method: 'GET' as const,
  url: target.url('/v2/', 'localhost'),
  headers: { authorization: 'Bearer secret' },
  what: 'manifest',
});

async function read(): Promise<string> {
  const { body } = await transport.send(request());
  return (await readBounded(body, 1000)).bytes.toString();
}

describe.each([{ isTls: false }, { isTls: true }])('through a proxy (TLS: $isTls)', ({ isTls }) => {
  it('requests go by a tunnel, which is used again and of which the proxy sees the name only', async () => {
    await open(lead, { isTls, credential: 'us%20er:p%40ss@' });
    expect(await read()).toBe('a manifest');
    expect(await read()).toBe('a manifest');
    expect(proxy.requests).toHaveLength(1);
    const { port } = target.url();
    const text = proxy.requests[0]?.text ?? '';
    expect(text).toMatch(new RegExp(`^CONNECT localhost:${port} HTTP/1.1\r\n`));
    const basic = Buffer.from('us er:p@ss').toString('base64');
    expect(text.toLowerCase()).toContain(`proxy-authorization: basic ${basic.toLowerCase()}`);
    expect(text).not.toContain('secret');
    expect(target.requests).toHaveLength(2);
    expect(target.requests[0]?.text.toLowerCase()).not.toContain('proxy-');
  });

  it('a password with a lone "%" is sent as it is', async () => {
    await open(lead, { isTls, credential: 'me:100%@' });
    await read();
    const basic = Buffer.from('me:100%').toString('base64');
    expect(proxy.requests[0]?.text).toContain(basic);
  });

  it('blobs go as well', async () => {
    await open(lead, { isTls });
    const { body } = await transport.sendForBlob(request());
    expect((await readBounded(body, 1000)).bytes.toString()).toBe('a manifest');
    expect(proxy.requests).toHaveLength(1);
  });

  it.each([
    ['refuses', 'HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n', '407'],
    ['fails', 'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nabcde', '502'],
  ])('one that %s is named, and is not taken for the registry', async (_, answer, status) => {
    await open((socket) => socket.write(answer), { isTls });
    const error = await failure(transport.send(request()));
    expect(error.code).toBe('UNAVAILABLE');
    expect(error.message).toMatch(
      new RegExp(
        `^manifest: no answer from localhost:\\d+: the proxy 127\\.0\\.0\\.1:\\d+ opens no way to localhost: it answers ${status}$`,
      ),
    );
    expect(target.sockets).toHaveLength(0);
    await closed(proxy.sockets[0]);
  });

  it('one that closes ends the attempt', async () => {
    await open((socket) => socket.destroy(), { isTls });
    expect((await failure(transport.send(request()))).code).toBe('UNAVAILABLE');
    expect(proxy.sockets).toHaveLength(1);
  });

  it('one that speaks for the server is refused', async () => {
    const early = Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\n\r\n'), ok(content)]);
    await open((socket) => socket.write(early), { isTls });
    expect((await failure(transport.send(request()))).message).toContain('speaks for the server');
    await closed(proxy.sockets[0]);
  });

  it('one that says nothing is given up', async () => {
    await open(() => undefined, { isTls });
    const error = await failure(transport.send(request()));
    expect(error.code).toBe('TIMED_OUT');
    await closed(proxy.sockets[0]);
  });

  it('close() ends what is waiting for one', async () => {
    let asked: (socket: Socket) => void = () => undefined;
    const waiting = new Promise<Socket>((resolve) => {
      asked = resolve;
    });
    await open((socket) => asked(socket), { isTls });
    const sent = failure(transport.send(request()));
    const socket = await waiting;
    await transport.close();
    await sent;
    await closed(socket);
  });
});

it('a proxy that is reached by TLS must have a certificate that the machine knows', async () => {
  await open(lead, { isProxyTls: true });
  const error = await failure(transport.send(request()));
  expect(error.message).toContain('self-signed certificate');
  expect(proxy.requests).toHaveLength(0);
});

describe('the environment', () => {
  /** Asks for a host that there is not, and tells what the proxy heard. */
  async function heard(url: string): Promise<string[]> {
    proxy = await RawServer.start((socket) => socket.destroy());
    target = await RawServer.start((socket) => socket.write(ok(content)));
    vi.stubEnv('HTTP_PROXY', proxy.url('/').href);
    transport = await Transport.open({ maxAttempts: 1, connectTimeoutMs: 2_000 });
    await failure(transport.send({ ...request(), url: new URL(url) }));
    return proxy.requests.map(({ text }) => text.split('\r\n')[0] ?? '');
  }

  it('names the proxy of hosts elsewhere', async () => {
    expect(await heard('http://registry.invalid/v2/')).toEqual([
      'CONNECT registry.invalid:80 HTTP/1.1',
    ]);
  });

  it.each(['http://registry.invalid/', 'https://registry.invalid/'])(
    'may leave the scheme out (%s)',
    async (url) => {
      await heard(url);
      const { host } = proxy.url();
      vi.stubEnv('HTTP_PROXY', host);
      vi.stubEnv('HTTPS_PROXY', host);
      const bare = await Transport.open({ maxAttempts: 1, connectTimeoutMs: 2_000 });
      await failure(bare.send({ ...request(), url: new URL(url) }));
      await bare.close();
      const { port, protocol } = new URL(url);
      const expected = port || (protocol === 'https:' ? '443' : '80');
      expect(proxy.requests.at(-1)?.text).toMatch(`CONNECT registry.invalid:${expected} HTTP/1.1`);
    },
  );

  it('names hosts that go without', async () => {
    vi.stubEnv('NO_PROXY', 'example.com,.invalid');
    expect(await heard('http://registry.invalid/v2/')).toEqual([]);
  });

  it('does not say with HTTP_PROXY how HTTPS goes', async () => {
    expect(await heard('https://registry.invalid/v2/')).toEqual([]);
  });

  it('may name no proxy of another kind', async () => {
    vi.stubEnv('HTTPS_PROXY', 'socks5://user:secret@127.0.0.1:1080');
    transport = await Transport.open({ maxAttempts: 1 });
    [proxy, target] = [
      await RawServer.start(() => undefined),
      await RawServer.start(() => undefined),
    ];
    const url = new URL('https://registry.invalid/v2/');
    const error = await failure(transport.send({ ...request(), url }));
    expect(error.message).toContain('is no http:// or https:// address');
    expect(error.message).not.toContain('secret');
  });
});
