import { setTimeout as delay } from 'node:timers/promises';
import { createSecureContext } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { HttpClient, type HttpRequest } from '../../src/registry/http-client.js';
import { readBounded } from '../../src/registry/response-body.js';
import { Transport } from '../../src/registry/transport.js';
import { failure } from './client-fixture.js';
import { type Answer, CollectingSink, closed, ok, RawServer, selfSigned } from './raw-server.js';

const content = Buffer.from('a manifest');
const certificate = selfSigned();
const secureContext = createSecureContext({ ca: certificate.cert });

let server: RawServer;
let client: HttpClient;
afterEach(async () => {
  client.close();
  await server.stop();
});

async function serve(answer: Answer, options: { readonly isTls?: boolean } = {}): Promise<void> {
  server = await RawServer.start(answer, options.isTls ? certificate : undefined);
  client = new HttpClient({
    connectTimeoutMs: 300,
    headersTimeoutMs: 300,
    bodyIdleTimeoutMs: 300,
    tls: { secureContext },
    proxy: undefined,
  });
}

const send = (request: Partial<HttpRequest> = {}) =>
  client.send({ method: 'GET', url: server.url(), headers: {}, ...request });

async function read(request: Partial<HttpRequest> = {}): Promise<string> {
  return (await readBounded((await send(request)).body, 1000)).bytes.toString();
}

async function fault(promise: Promise<unknown>): Promise<{ code?: string; message: string }> {
  return promise.then(
    () => expect.unreachable('it succeeded'),
    (error: Error) => error,
  );
}

describe.each([{ isTls: false }, { isTls: true }])('a client (TLS: $isTls)', ({ isTls }) => {
  it('uses a connection again', async () => {
    await serve((socket) => socket.write(ok(content)), { isTls });
    expect(await read()).toBe('a manifest');
    expect(await read({ headers: { accept: 'x/y' } })).toBe('a manifest');
    expect(server.sockets).toHaveLength(1);
    expect(server.requests[1]?.text).toMatch(/accept: x\/y/i);
  });

  it('asks at once on a new connection when the old one was closed unused', async () => {
    await serve(
      (socket, { connection, request }) => {
        if (connection === 1 && request === 2) socket.destroy();
        else socket.write(ok(content));
      },
      { isTls },
    );
    await read();
    expect(await read()).toBe('a manifest');
    expect(server.requests.map(({ connection }) => connection)).toEqual([1, 1, 2]);
  });

  it('does not send a POST twice', async () => {
    await serve(
      (socket, { request }) => {
        if (request === 2) socket.destroy();
        else socket.write(ok(content));
      },
      { isTls },
    );
    await read();
    expect((await fault(send({ method: 'POST', body: 'a=b' }))).code).toBe('ECONNRESET');
    expect(server.requests).toHaveLength(2);
  });

  it('tells a body that is cut off, and one that stands still', async () => {
    const head = 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc';
    await serve(
      (socket, { connection }) => {
        socket.write(head);
        if (connection === 1) socket.end();
      },
      { isTls },
    );
    const cut = await fault(read());
    expect(cut).toMatchObject({ code: 'ECONNRESET' });
    expect(cut.message).toBe('the connection was closed before the end of the body');
    const idle = await fault(read());
    expect(idle).toMatchObject({ code: 'ETIMEDOUT', message: 'no byte of the body for 0.3 s' });
    await closed(server.sockets[1]);
  });
});

it('waits for a sink that is full longer than for a byte', async () => {
  await serve((socket) => socket.write(ok(Buffer.alloc(300_000, 'x'))));
  let isFirst = true;
  const sink = new CollectingSink(async () => {
    if (isFirst) await delay(500);
    isFirst = false;
  });
  await (await send()).body.pour(sink);
  expect(sink.bytes).toHaveLength(300_000);
  expect(sink.writesWhileFull).toBe(0);
});

it('has no timer left when it is ended while the sink is full', async () => {
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  await serve((socket) => socket.write(ok(Buffer.alloc(3_000_000))));
  let makeRoom: () => void = () => undefined;
  const sink = new CollectingSink(
    () =>
      new Promise((resolve) => {
        makeRoom = resolve;
      }),
  );
  const controller = new AbortController();
  const { body } = await send({ signal: controller.signal });
  const poured = fault(body.pour(sink));
  await expect.poll(() => sink.pieces.length).toBe(1);
  controller.abort(new Error('enough'));
  expect((await poured).message).toBe('enough');
  const before = timers();
  makeRoom();
  await new Promise(setImmediate);
  expect(timers()).toBeLessThanOrEqual(before);
});

it('gives up a connection that does not come about', async () => {
  await serve(() => undefined);
  const url = new URL(server.url().href.replace('http:', 'https:'));
  const error = await fault(send({ url }));
  expect(error).toMatchObject({ code: 'ETIMEDOUT', message: 'no connection for 0.3 s' });
  await closed(server.sockets[0]);
});

it('gives up a head that does not come, also on a connection that it uses again', async () => {
  await serve((socket, { request }) => request === 1 && socket.write(ok(content)));
  await read();
  const error = await fault(send());
  expect(error).toMatchObject({ code: 'ETIMEDOUT', message: 'no head for 0.3 s' });
  expect(server.sockets).toHaveLength(1);
  await closed(server.sockets[0]);
});

it('closes a connection that nobody uses', async () => {
  await serve((socket) => socket.write(ok(content)));
  await read();
  const started = performance.now();
  await closed(server.sockets[0]);
  expect(performance.now() - started).toBeLessThan(10_000);
}, 15_000);

describe('a signal', () => {
  const reason = new Error('enough');

  it('that has fired sends nothing', async () => {
    await serve((socket) => socket.write(ok(content)));
    expect(await fault(send({ signal: AbortSignal.abort(reason) }))).toBe(reason);
    expect(server.sockets).toHaveLength(0);
  });

  it('ends the wait for a head', async () => {
    const controller = new AbortController();
    await serve(() => controller.abort(reason));
    expect(await fault(send({ signal: controller.signal }))).toBe(reason);
    await closed(server.sockets[0]);
  });

  it('ends a body that is read, and one that nobody reads', async () => {
    await serve((socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc'));
    for (const isRead of [true, false]) {
      const controller = new AbortController();
      const { body } = await send({ signal: controller.signal });
      const sink = new CollectingSink();
      const poured = isRead ? body.pour(sink) : undefined;
      poured?.catch(() => undefined);
      controller.abort(reason);
      expect(await fault(poured ?? body.pour(sink))).toBe(reason);
      await closed(server.sockets.at(-1));
    }
  });
});

it('gives repeated fields as a list', async () => {
  await serve((socket) =>
    socket.write(ok(content, 'WWW-Authenticate: Basic\r\nwww-authenticate: Bearer\r\nX-A: b\r\n')),
  );
  const { headers, body } = await send();
  await body.discard();
  expect(headers).toMatchObject({ 'www-authenticate': ['Basic', 'Bearer'], 'x-a': 'b' });
});

it('leaves a long body that nobody wants, and its connection', async () => {
  await serve((socket) => socket.write(ok(Buffer.alloc(200_000))));
  await (await send()).body.discard();
  await closed(server.sockets[0]);
});

it('close() cuts what is in use', async () => {
  await serve((socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc'));
  const { body } = await send();
  const poured = body.pour(new CollectingSink());
  client.close();
  expect((await fault(poured)).code).toBe('ECONNRESET');
});

it('an answer that is no HTTP is a bad answer', async () => {
  await serve((socket) => socket.write('SSH-2.0-OpenSSH_9.2\r\n'));
  const transport = await Transport.open({ maxAttempts: 3 });
  try {
    const request = { method: 'GET', url: server.url(), headers: {}, what: 'manifest' } as const;
    const error = await failure(transport.send(request));
    expect(error.code).toBe('BAD_RESPONSE');
    expect(error.message).toMatch(/^manifest: bad answer from 127\.0\.0\.1:\d+: /);
    expect(server.requests).toHaveLength(1);
  } finally {
    await transport.close();
  }
});
