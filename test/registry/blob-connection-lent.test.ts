import { afterEach, describe, expect, it } from 'vitest';
import { BlobConnectionPool } from '../../src/registry/blob-connection-pool.js';
import type { PlainConnection, Reception } from '../../src/registry/blob-sink.js';
import {
  type Answer,
  type Certificate,
  CollectingSink,
  closed,
  ok,
  RawServer,
  ReceivingSink,
  selfSigned,
} from './raw-server.js';

const content = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => (i * 7 + (i >> 8)) % 251));

let server: RawServer;
let pool: BlobConnectionPool;
afterEach(async () => {
  pool.close();
  await server.stop();
});

async function serve(answer: Answer, certificate?: Certificate) {
  server = await RawServer.start(answer, certificate);
  const patient = { connectTimeoutMs: 20_000, headersTimeoutMs: 20_000, bodyIdleTimeoutMs: 300 };
  pool = new BlobConnectionPool({ ...patient, tls: { rejectUnauthorized: false } });
}

async function pour(sink: CollectingSink, signal?: AbortSignal): Promise<void> {
  const answer = await pool.get({ url: server.url(), headers: {}, signal });
  if (answer === undefined) throw new Error('not taken');
  await answer.body.pour(sink);
}

/** A sink that gets a connection and answers this in place of reading it. */
class AnsweringSink extends CollectingSink {
  readonly receive: (connection: PlainConnection) => Promise<Reception>;

  constructor(receive: (connection: PlainConnection) => Promise<Reception>) {
    super();
    this.receive = receive;
  }
}

const faultOf = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: { code?: string; message: string }) => error,
  );

describe('a connection whose body the sink reads itself', () => {
  it('is lent for what is left of a large body, and used again', async () => {
    await serve((socket) => socket.write(ok(content)));
    for (const request of [1, 2]) {
      const sink = new ReceivingSink();
      await pour(sink);
      expect(sink.bytes.equals(content)).toBe(true);
      expect(sink.connections).toHaveLength(1);
      expect(server.requests.at(-1)).toMatchObject({ connection: 1, request });
    }
    const plain = new CollectingSink();
    await pour(plain);
    expect(plain.bytes.equals(content)).toBe(true);
    expect(server.requests.at(-1)).toMatchObject({ connection: 1, request: 3 });
  });

  it('is not lent for a small body', async () => {
    const small = content.subarray(0, 200_000);
    await serve((socket) => socket.write(ok(small)));
    const sink = new ReceivingSink();
    await pour(sink);
    expect(sink.bytes.equals(small)).toBe(true);
    expect(sink.connections).toEqual([]);
  });

  it('is not lent when what comes is encrypted', async () => {
    await serve((socket) => socket.write(ok(content)), selfSigned());
    const sink = new ReceivingSink();
    await pour(sink);
    expect(sink.bytes.equals(content)).toBe(true);
    expect(sink.connections).toEqual([]);
  });

  it('that is closed too early says how early', async () => {
    await serve((socket) => socket.end(ok(content).subarray(0, 1_000_000)));
    const sink = new ReceivingSink();
    const error = await faultOf(pour(sink));
    expect(error?.code).toBe('ECONNRESET');
    const missing = content.byteLength - sink.bytes.byteLength;
    expect(error?.message).toBe(
      `the connection was closed ${missing} bytes before the end of the body`,
    );
  });

  it('that brings nothing for too long is closed', async () => {
    await serve((socket) => socket.write(ok(content).subarray(0, 1_000_000)));
    const error = await faultOf(pour(new ReceivingSink()));
    expect(error).toMatchObject({ code: 'ETIMEDOUT', message: 'no byte of the body for 0.3 s' });
    await closed(server.sockets[0]);
  });

  it('that breaks says how', async () => {
    await serve((socket) => socket.write(ok(content)));
    const fault = Object.assign(new Error('broken'), { code: 'EPIPE' });
    const error = await faultOf(pour(new AnsweringSink(async () => ({ bytes: 1, fault }))));
    expect(error).toBe(fault);
    await closed(server.sockets[0]);
  });

  it('is closed when the sink wants no more', async () => {
    await serve((socket) => socket.write(ok(content)));
    const refusal = new Error('enough');
    const error = await faultOf(pour(new AnsweringSink(() => Promise.reject(refusal))));
    expect(error).toBe(refusal);
    await closed(server.sockets[0]);
  });

  it('is closed when the signal fires, whatever the sink says later', async () => {
    await serve((socket) => socket.write(ok(content)));
    const controller = new AbortController();
    let settle: (reception: Reception) => void = () => undefined;
    const sink = new AnsweringSink(() => {
      queueMicrotask(() => controller.abort(new Error('changed my mind')));
      return new Promise((resolve) => {
        settle = resolve;
      });
    });
    const error = await faultOf(pour(sink, controller.signal));
    expect(error?.message).toBe('changed my mind');
    settle({ bytes: 10, fault: 'closed' });
    await closed(server.sockets[0]);
    await pour(new ReceivingSink());
  });
});
