import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import {
  type BlobAnswer,
  BlobConnectionPool,
  type BlobConnectionPoolOptions,
} from '../../src/registry/blob-connection-pool.js';
import { isTransientFault } from '../../src/registry/transport.js';
import { type Answer, CollectingSink, closed, ok, RawServer } from './raw-server.js';

const content = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => (i * 7 + (i >> 8)) % 251));
const small = Buffer.from('hello');

let server: RawServer;
let pool: BlobConnectionPool;
afterEach(async () => {
  pool.close();
  await server.stop();
});

async function serve(answer: Answer, options: Partial<BlobConnectionPoolOptions> = {}) {
  server = await RawServer.start(answer);
  const patient = { connectTimeoutMs: 20_000, headersTimeoutMs: 20_000, bodyIdleTimeoutMs: 20_000 };
  pool = new BlobConnectionPool({ ...patient, ...options });
}

async function get(
  headers: Record<string, string> = {},
  signal?: AbortSignal,
): Promise<BlobAnswer> {
  const answer = await pool.get({ url: server.url(), headers, signal });
  if (answer === undefined) throw new Error('not taken');
  return answer;
}

async function read(sink = new CollectingSink()): Promise<Buffer> {
  await (await get()).body.pour(sink);
  expect(sink.writesWhileFull).toBe(0);
  return sink.bytes;
}

const faultOf = (promise: Promise<unknown>) =>
  promise.then(
    () => {
      throw new Error('no fault');
    },
    (error: { code?: string; message: string }) => error,
  );

describe('a request', () => {
  it('asks for bytes as they are, with the headers given', async () => {
    await serve((socket) => socket.write(ok(small)));
    const url = server.url('/v2/a/blobs/x?b=c d');
    await pool.get({ url, headers: { 'user-agent': 'u', range: 'bytes=5-' } });
    expect(server.requests[0]?.text.split('\r\n')).toEqual([
      'GET /v2/a/blobs/x?b=c%20d HTTP/1.1',
      `host: ${url.host}`,
      'accept-encoding: identity',
      'user-agent: u',
      'range: bytes=5-',
    ]);
  });

  it.each([
    { authorization: 'Bearer secret\r\nX-Evil: 1' },
    { authorization: 'Bearer secret\n' },
    { authorization: 'Bearer secret\0' },
    { 'a b': 'secret' },
    { 'a\r\nb': 'secret' },
  ])('with a header that would not stay one is not sent: %j', async (headers) => {
    await serve((socket) => socket.write(ok(small)));
    const fault = await faultOf(get(headers as unknown as Record<string, string>));
    expect(fault.code).toBe('EINVAL');
    expect(fault.message).not.toContain('secret');
    expect(server.requests).toEqual([]);
  });
});

describe('a body', () => {
  it.each([1, 2, 3, 17, 1000])('arrives whole in pieces of %i bytes', async (size) => {
    const bytes = ok(content.subarray(0, 40 * size), 'X-Long: y\r\n');
    await serve(async (socket) => {
      socket.setNoDelay(true);
      for (let at = 0; at < bytes.length; at += size) {
        socket.write(bytes.subarray(at, at + size));
        await nextTurn();
      }
    });
    expect((await read()).equals(content.subarray(0, 40 * size))).toBe(true);
  });

  it('waits for a sink that is full, without losing or reordering anything', async () => {
    await serve((socket) => socket.write(ok(content)), { bodyIdleTimeoutMs: 200 });
    let rounds = 0;
    const bytes = await read(
      // Once for longer than a connection may be idle.
      new CollectingSink(() => (++rounds === 2 ? delay(600) : nextTurn())),
    );
    expect(bytes.equals(content)).toBe(true);
    expect(rounds).toBeGreaterThan(3);
  });

  it('is read no further while the sink is full', async () => {
    const big = Buffer.alloc(64 * 2 ** 20);
    await serve((socket) => socket.write(ok(big)));
    const stuck = new CollectingSink(() => new Promise(() => undefined));
    const controller = new AbortController();
    const reading = faultOf(get({}, controller.signal).then(({ body }) => body.pour(stuck)));
    const before = await settledSize(server);
    expect(before).toBeGreaterThan(0);
    expect(stuck.pieces).toHaveLength(1);
    controller.abort(new Error('enough'));
    expect((await reading).message).toBe('enough');
  });

  it('of no bytes ends at once', async () => {
    await serve((socket, { request }) =>
      socket.write(request === 1 ? ok(Buffer.alloc(0)) : 'HTTP/1.1 204 No Content\r\n\r\n'),
    );
    expect(await read()).toHaveLength(0);
    const { status, body } = await get();
    expect(status).toBe(204);
    await body.pour(new CollectingSink());
    expect(server.sockets).toHaveLength(1);
  });

  it('that ends early is a transient fault, after what came of it', async () => {
    await serve((socket) => socket.end(ok(content).subarray(0, 500_000)));
    for (const sink of [new CollectingSink(), new CollectingSink(() => nextTurn())]) {
      const fault = await faultOf(read(sink));
      expect(fault.code).toBe('ECONNRESET');
      expect(isTransientFault(fault)).toBe(true);
      const headBytes = ok(content).length - content.length;
      expect(sink.bytes.equals(content.subarray(0, 500_000 - headBytes))).toBe(true);
      expect(sink.writesWhileFull).toBe(0);
    }
  });

  it('that is reset is a transient fault', async () => {
    await serve((socket) =>
      socket.write(ok(content).subarray(0, 9_999), () => socket.resetAndDestroy()),
    );
    expect((await faultOf(read())).code).toBe('ECONNRESET');
  });

  it('ends with what the sink throws or rejects with, and so does the connection', async () => {
    await serve((socket) => socket.write(ok(content)));
    const refusal = new Error('no more');
    const refuse = () => {
      throw refusal;
    };
    expect(await faultOf((await get()).body.pour({ write: refuse, drained: async () => {} }))).toBe(
      refusal,
    );
    const full = { write: () => false, drained: () => Promise.reject(refusal) };
    expect(await faultOf((await get()).body.pour(full))).toBe(refusal);
    for (const socket of server.sockets) await closed(socket);
  });

  it('that stalls fails at its deadline', async () => {
    await serve((socket) => socket.write(ok(content).subarray(0, 1000)), { bodyIdleTimeoutMs: 50 });
    const fault = await faultOf(read());
    expect(fault.code).toBe('ETIMEDOUT');
    expect(isTransientFault(fault)).toBe(true);
  });
});

describe('an answer', () => {
  it.each([
    ['in chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n'],
    ['that ends by closing', 'HTTP/1.1 200 OK\r\n\r\nhello'],
    ['that is encoded', 'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx'],
  ])('%s is not taken', async (_, text) => {
    await serve((socket) => socket.write(text));
    expect(await pool.get({ url: server.url(), headers: {} })).toBeUndefined();
    await closed(server.sockets[0]);
  });

  it('with another status has its headers and its body', async () => {
    const text = 'HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nA: b\r\nA: c\r\n\r\nhello';
    await serve((socket) => socket.write(text));
    const { status, headers, body } = await get();
    expect(status).toBe(404);
    expect(headers).toEqual({ 'content-length': '5', a: ['b', 'c'] });
    const sink = new CollectingSink();
    await body.pour(sink);
    expect(sink.bytes).toEqual(small);
  });

  it('whose head is malformed or too long is refused', async () => {
    const answers = ['SSH-2.0-x\r\n', `HTTP/1.1 200 OK\r\nA: ${'b'.repeat(100_000)}`];
    await serve((socket) => socket.write(answers.shift() ?? ''));
    for (const problem of ['HTTP/1', '65536']) {
      const fault = await faultOf(get());
      expect(fault).toMatchObject({ code: 'BAD_RESPONSE' });
      expect(fault.message).toContain(problem);
      expect(isTransientFault(fault)).toBe(false);
    }
  });

  it('that does not come, or comes byte by byte for ever, fails at the deadline', async () => {
    await serve(
      async (socket, { connection }) => {
        socket.write('HTTP/1.1 200 OK\r\nA: ');
        while (connection === 2 && socket.writable) {
          socket.write('b');
          await delay(10);
        }
      },
      { headersTimeoutMs: 100 },
    );
    for (let i = 0; i < 2; i++) expect((await faultOf(get())).code).toBe('ETIMEDOUT');
  });
});

describe('a signal ends', () => {
  const enough = new Error('enough');

  it('a request before it is sent, and one without an answer', async () => {
    const controller = new AbortController();
    await serve(() => controller.abort(enough));
    await expect(get({}, AbortSignal.abort(enough))).rejects.toBe(enough);
    expect(server.sockets).toEqual([]);
    await expect(get({}, controller.signal)).rejects.toBe(enough);
  });

  it('a body, wherever it stands', async () => {
    await serve((socket) => socket.write(ok(content).subarray(0, 100_000)));
    const abortLater = () => {
      const controller = new AbortController();
      return { signal: controller.signal, abort: () => controller.abort(enough) };
    };
    const before = abortLater();
    const { body } = await get({}, before.signal);
    before.abort();
    await expect(body.pour(new CollectingSink())).rejects.toBe(enough);

    const within = abortLater();
    const sink = {
      write: () => {
        within.abort();
        return true;
      },
      drained: async () => undefined,
    };
    await expect((await get({}, within.signal)).body.pour(sink)).rejects.toBe(enough);

    const full = abortLater();
    const stuck = new CollectingSink(() => {
      setImmediate(full.abort);
      return new Promise(() => undefined);
    });
    await expect((await get({}, full.signal)).body.pour(stuck)).rejects.toBe(enough);
    for (const socket of server.sockets) await closed(socket);
  });
});

/** How much the server has not got rid of, once that changes no more. */
async function settledSize({ sockets }: RawServer): Promise<number> {
  for (let last = -1; ; ) {
    await delay(50);
    const size = sockets[0]?.writableLength ?? -1;
    if (size === last && size >= 0) return size;
    last = size;
  }
}
