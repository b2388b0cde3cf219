import { setImmediate as nextTurn } from 'node:timers/promises';
import tls from 'node:tls';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  BlobConnectionPool,
  type BlobConnectionPoolOptions,
} from '../../src/registry/blob-connection-pool.js';
import { isTransientFault } from '../../src/registry/transport.js';
import {
  type Answer,
  type Certificate,
  CollectingSink,
  closed,
  ok,
  RawServer,
  selfSigned,
} from './raw-server.js';

const hello = Buffer.from('hello');

let server: RawServer;
let pool: BlobConnectionPool;
let certificate: Certificate;
beforeAll(() => {
  certificate = selfSigned();
});
afterEach(async () => {
  vi.restoreAllMocks();
  pool.close();
  await server.stop();
});

async function serve(
  answer: Answer,
  {
    isTls = false,
    ...options
  }: Partial<BlobConnectionPoolOptions> & { readonly isTls?: boolean } = {},
) {
  server = await RawServer.start(answer, isTls ? certificate : undefined);
  const patient = { connectTimeoutMs: 20_000, headersTimeoutMs: 20_000, bodyIdleTimeoutMs: 20_000 };
  pool = new BlobConnectionPool({ ...patient, ...options });
}

async function get(url = server.url(), signal?: AbortSignal) {
  const answer = await pool.get({ url, headers: {}, signal });
  if (answer === undefined) throw new Error('not taken');
  return answer;
}

async function read(url = server.url(), sink = new CollectingSink()): Promise<string> {
  await (await get(url)).body.pour(sink);
  return sink.bytes.toString('latin1');
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'no fault',
    (error: { code?: string }) => error.code,
  );

describe('a connection', () => {
  it('is used again once its answer was read, and several are kept', async () => {
    await serve((socket) => socket.write(ok(hello)));
    await Promise.all([read(), read()]);
    expect(server.sockets).toHaveLength(2);
    for (let i = 0; i < 4; i++) expect(await read()).toBe('hello');
    expect(server.sockets).toHaveLength(2);
  });

  it('is used again after an unwanted body that has come, and not after a long one', async () => {
    const answers = [ok(hello), ok(Buffer.alloc(1_000_000)), ok(hello)];
    await serve((socket) => socket.write(answers.shift() as Buffer));
    await (await get()).body.discard();
    await (await get()).body.discard();
    expect(server.sockets).toHaveLength(1);
    expect(await read()).toBe('hello');
    expect(server.sockets).toHaveLength(2);
  });

  it('is left alone by a body that was poured and is discarded later', async () => {
    await serve((socket) => socket.write(ok(hello)));
    const first = await get();
    await first.body.pour(new CollectingSink());
    const second = await get();
    await first.body.discard();
    const sink = new CollectingSink();
    await second.body.pour(sink);
    expect(sink.bytes.toString()).toBe('hello');
  });

  it.each([
    ['says that it will close', ok(hello, 'Connection: close\r\n')],
    ['speaks HTTP/1.0', Buffer.from('HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello')],
    ['sends more than it announced', Buffer.concat([ok(hello), Buffer.from(' and more')])],
  ])('is not used again when the other end %s', async (_, bytes) => {
    await serve((socket) => socket.write(bytes));
    expect(await read()).toBe('hello');
    await closed(server.sockets[0]);
    expect(await read()).toBe('hello');
    expect(server.sockets).toHaveLength(2);
  });

  it('is not used again when the other end speaks unasked or has closed', async () => {
    await serve((socket) => socket.write(ok(hello)));
    await read();
    server.sockets[0]?.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil');
    await closed(server.sockets[0]);
    expect(await read()).toBe('hello');
    server.sockets[1]?.end();
    await closed(server.sockets[1]);
    expect(await read()).toBe('hello');
    expect(server.sockets).toHaveLength(3);
  });

  it('that has died of age is replaced, one that dies in its answer or at once is not', async () => {
    const cut = ok(hello).subarray(0, 20);
    await serve((socket, { connection, request }) => {
      if (connection === 1 && request === 2) return socket.destroy();
      if (connection === 2 && request === 2) return socket.end(cut);
      if (connection === 3) return socket.destroy();
      return socket.write(ok(hello));
    });
    expect(await read()).toBe('hello');
    expect(await read()).toBe('hello');
    expect(server.requests.map(({ connection }) => connection)).toEqual([1, 1, 2]);
    expect(await codeOf(read())).toBe('ECONNRESET');
    expect(await codeOf(read())).toBe('ECONNRESET');
    expect(server.requests.map(({ connection }) => connection)).toEqual([1, 1, 2, 2, 3]);
  });

  it('finds the address of a name that is listened at', async () => {
    await serve((socket) => socket.write(ok(hello)));
    // Also ::1, where nobody is.
    expect(await read(server.url('/', 'localhost'))).toBe('hello');
  });

  it('that cannot be made is a transient fault', async () => {
    await serve(() => undefined);
    const url = server.url();
    await server.stop();
    expect(await codeOf(read(url))).toBe('ECONNREFUSED');
  });
});

describe('close()', () => {
  it('cuts what is in use and what is idle, and nothing is opened any more', async () => {
    await serve((socket, { connection }) =>
      socket.write(connection === 1 ? ok(hello) : ok(hello).subarray(0, -1)),
    );
    const idle = await get();
    const sink = new CollectingSink();
    const reading = codeOf(read(server.url(), sink));
    await idle.body.pour(new CollectingSink());
    while (sink.pieces.length === 0) await nextTurn();
    pool.close();
    expect(await reading).toBe('ECONNABORTED');
    expect(await codeOf(read())).toBe('ECONNABORTED');
    for (const socket of server.sockets) await closed(socket);
  });
});

describe('TLS', () => {
  /** As if NODE_EXTRA_CA_CERTS named it, which only a new process would read. */
  function trustCertificate(): void {
    const original = tls.createSecureContext;
    vi.spyOn(tls, 'createSecureContext').mockImplementation((options) =>
      original({ ...options, ca: certificate.cert }),
    );
  }

  it('refuses a certificate that nobody vouches for, for good', async () => {
    await serve((socket) => socket.write(ok(hello)), { isTls: true });
    const fault = await get().catch((error: unknown) => error);
    expect(fault).toMatchObject({ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
    expect(isTransientFault(fault)).toBe(false);
    expect(server.requests).toEqual([]);
  });

  it('takes a certificate with its authority, and goes on with the session', async () => {
    await serve((socket) => socket.write(ok(hello, 'Connection: close\r\n')), { isTls: true });
    trustCertificate();
    expect(await read()).toBe('hello');
    expect(await read()).toBe('hello');
    expect(server.isSessionReused(2)).toBe(true);
    expect(await read(server.url('/', 'localhost'))).toBe('hello');
  });

  it('refuses another name than those of the certificate', async () => {
    await serve((socket) => socket.write(ok(hello)), { isTls: true });
    trustCertificate();
    // Any name below it is this machine, too.
    vi.spyOn(await import('node:dns').then((dns) => dns.default), 'lookup').mockImplementation(((
      _name: string,
      _options: object,
      done: (error: null, addresses: object[]) => void,
    ) => done(null, [{ address: '127.0.0.1', family: 4 }])) as never);
    for (let i = 0; i < 2; i++) {
      const fault = await get(server.url('/', 'other.test')).catch((error: unknown) => error);
      expect(fault).toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
      expect(isTransientFault(fault)).toBe(false);
    }
    expect(server.requests).toEqual([]);
  });

  it('offers HTTP/1.1 only, and names no address', async () => {
    const seen: unknown[] = [];
    await serve(
      (socket) => {
        const { servername, alpnProtocol } = socket as tls.TLSSocket & { servername: unknown };
        seen.push([servername, alpnProtocol]);
        socket.write(ok(hello));
      },
      { isTls: true },
    );
    trustCertificate();
    await read();
    await read(server.url('/', 'localhost'));
    expect(seen).toEqual([
      [false, 'http/1.1'],
      ['localhost', 'http/1.1'],
    ]);
  });

  it('brings a large body whole to a sink that is full all the time, and ends early as plain TCP does', async () => {
    const content = Buffer.from(Array.from({ length: 2_000_000 }, (_, i) => (i * 11) % 253));
    const whole = ok(content);
    await serve(
      (socket, { connection }) =>
        connection === 1 ? socket.write(whole) : socket.end(whole.subarray(0, 1_500_000)),
      { isTls: true, bodyIdleTimeoutMs: 2_000 },
    );
    trustCertificate();
    const sink = new CollectingSink(() => nextTurn());
    await read(server.url(), sink);
    expect(sink.bytes.equals(content)).toBe(true);
    expect(sink.writesWhileFull).toBe(0);
    server.sockets[0]?.destroy();
    const cut = new CollectingSink(() => nextTurn());
    expect(await codeOf(read(server.url(), cut))).toBe('ECONNRESET');
    const reached = 1_500_000 - (whole.length - content.length);
    expect(cut.bytes.equals(content.subarray(0, reached))).toBe(true);
  });

  it('with an end that says nothing fails at the deadline, or when the signal fires', async () => {
    await serve(() => undefined, { connectTimeoutMs: 50 });
    const url = new URL(server.url().href.replace('http:', 'https:'));
    expect(await codeOf(read(url))).toBe('ETIMEDOUT');
    const controller = new AbortController();
    const connecting = get(url, controller.signal);
    controller.abort(new Error('enough'));
    await expect(connecting).rejects.toThrow('enough');
  });
});
