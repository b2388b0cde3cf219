import { createHash } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { type ClientStream, connectSpdy, type SpdyClient } from './spdy-client.js';
import { eventually, startRig } from './streaming-rig.js';
import { closedPort, startService } from './tcp-services.js';

const FORWARD = 'portforward.k8s.io';

interface Pair {
  readonly error: ClientStream;
  readonly data: ClientStream;
}

/** Opens one connection as kubectl does. */
async function openPair(client: SpdyClient, port: number, requestId?: string): Promise<Pair> {
  const id: Record<string, string> = requestId === undefined ? {} : { requestid: requestId };
  const error = await client.open({ streamtype: 'error', port: `${port}`, ...id });
  client.end(error);
  const data = await client.open({ streamtype: 'data', port: `${port}`, ...id });
  await data.until((stream) => stream.replied);
  return { error, data };
}

async function startForward(limits = {}) {
  const rig = await startRig(limits);
  const client = await connectSpdy(rig.server.portForwardUrl({ sandboxId: 's1' }), FORWARD);
  return { ...rig, client };
}

describe('port-forward over SPDY', () => {
  test('carries a connection with both its ends', async () => {
    const { client, backend } = await startForward();
    // Answers only after the client's end, which must therefore arrive.
    const { port } = await startService((socket) => {
      let text = '';
      socket.on('data', (piece) => {
        text += piece;
      });
      socket.on('end', () => setTimeout(() => socket.end(`got ${text}`), 300));
    });
    const { data, error } = await openPair(client, port, '0');
    await client.send(data, 'ping');
    client.end(data);
    expect(await data.toEnd()).toBe('got ping');
    expect(await error.toEnd()).toBe('');
    expect(backend.forwards).toEqual([{ sandboxId: 's1', port }]);
    expect([data.resetStatus, error.resetStatus]).toEqual([undefined, undefined]);
    await eventually(() => backend.sockets.size === 0);
    client.destroy();
  });

  test('serves 50 connections in parallel, with large answers', async () => {
    const { client } = await startForward();
    const body = Buffer.alloc(300_000, 'abcdefg');
    const digest = createHash('sha256').update(body).digest('hex');
    const { port } = await startService((socket) => {
      socket.once('data', () => socket.end(body));
    });
    const pairs = await Promise.all(
      Array.from({ length: 50 }, async (_, index) => await openPair(client, port, `${index}`)),
    );
    for (const { data } of pairs) {
      await client.send(data, 'GET');
      client.end(data);
    }
    for (const { data, error } of pairs) {
      await data.toEnd();
      expect(createHash('sha256').update(data.bytes).digest('hex')).toBe(digest);
      expect(await error.toEnd()).toBe('');
    }
    client.destroy();
  });

  test('tells that a port cannot be reached, and serves the others on', async () => {
    const { client, server } = await startForward();
    const port = await closedPort();
    const echo = await startService((socket) => socket.pipe(socket));
    const alive = await openPair(client, echo.port, '1');
    const { data, error } = await openPair(client, port, '2');
    expect(await error.toEnd()).toMatch(
      new RegExp(`^error forwarding port ${port} to pod s1: .*ECONNREFUSED`),
    );
    await data.toEnd();
    await client.send(alive.data, 'still here');
    await alive.data.until((stream) => stream.text === 'still here');
    expect(server.openConnections).toBe(1);
    client.destroy();
  });

  test('a connection that is reset by the pod hurts no other', async () => {
    const { client } = await startForward();
    const { port } = await startService((socket) => {
      socket.once('data', (piece) => {
        if (String(piece) === 'die') socket.resetAndDestroy();
        else socket.write(piece);
      });
    });
    const dying = await openPair(client, port, '1');
    const living = await openPair(client, port, '2');
    await client.send(dying.data, 'die');
    await dying.data.toEnd();
    // Kubernetes' own client closes everything when it reads an error.
    expect(await dying.error.toEnd()).toBe('');
    await client.send(living.data, 'live');
    await living.data.until((stream) => stream.text === 'live');
    client.destroy();
  });

  test('a stream that the client resets closes its connection in the pod', async () => {
    const { client, backend } = await startForward();
    const { port, sockets } = await startService((socket) => socket.resume());
    const { data, error } = await openPair(client, port, '1');
    await eventually(() => sockets.size === 1);
    client.reset(data.id);
    expect(await error.toEnd()).toBe('');
    await eventually(() => backend.sockets.size === 0);
    client.destroy();
  });

  test('a stream that the client resets while it is dialled is no error', async () => {
    const { client, backend } = await startForward();
    let signal: AbortSignal | undefined;
    backend.connect = (_request, aborted) => {
      signal = aborted;
      return new Promise(() => undefined);
    };
    const { data, error } = await openPair(client, 80, '1');
    client.reset(data.id);
    expect(await error.toEnd()).toBe('');
    expect(signal?.aborted).toBe(true);
    client.destroy();
  });

  test('any other failure in the middle is told', async () => {
    const { client, backend } = await startForward();
    const peer = new PassThrough();
    backend.connect = () => Promise.resolve(peer);
    const { data, error } = await openPair(client, 80, '1');
    await client.send(data, 'x');
    await data.until((stream) => stream.text === 'x');
    peer.destroy(new Error('the network has gone'));
    expect(await error.toEnd()).toBe('error forwarding port 80 to pod s1: the network has gone');
    client.destroy();
  });

  test('pairs the streams of old clients by their numbers', async () => {
    const { client } = await startForward();
    const { port } = await startService((socket) => socket.pipe(socket));
    const { data } = await openPair(client, port);
    await client.send(data, 'old');
    client.end(data);
    expect(await data.toEnd()).toBe('old');
    client.destroy();
  });

  test('closes after the pod’s end when the client stays silent', async () => {
    const { client, backend } = await startForward({ forwardLingerMs: 100 });
    const { port } = await startService((socket) => socket.end('bye'));
    const { data } = await openPair(client, port, '1');
    expect(await data.toEnd()).toBe('bye');
    await data.until((stream) => stream.resetStatus === 5);
    await eventually(() => backend.sockets.size === 0);
    client.destroy();
  });

  test('a slow reader gets everything although the pod has ended long ago', async () => {
    const { client } = await startForward({ forwardLingerMs: 100 });
    const total = 20_000_000;
    const { port } = await startService((socket) => {
      socket.resume();
      socket.end(Buffer.alloc(total));
    });
    const { data } = await openPair(client, port, '1');
    client.end(data);
    client.transport.pause();
    await new Promise((resolve) => setTimeout(resolve, 500));
    client.transport.resume();
    await data.toEnd();
    expect(data.bytes.length).toBe(total);
    client.destroy();
  });

  test('resets the first stream of a pair whose second does not come', async () => {
    const { client } = await startForward({ setupMs: 100 });
    const error = await client.open({ streamtype: 'error', port: '80', requestid: '1' });
    await error.until((stream) => stream.resetStatus === 5);
    client.destroy();
  });

  test.each([
    ['no port', { streamtype: 'error', requestid: '1' }],
    ['port 0', { streamtype: 'error', port: '0', requestid: '1' }],
    ['port 65536', { streamtype: 'data', port: '65536', requestid: '1' }],
    ['another type', { streamtype: 'stdin', port: '80', requestid: '1' }],
  ])('refuses a stream with %s', async (_, headers) => {
    const { client } = await startForward();
    const stream = await client.open(headers as unknown as Record<string, string>);
    await stream.until(({ resetStatus }) => resetStatus === 3);
    expect(stream.replied).toBe(false);
    client.destroy();
  });

  test('refuses a stream too many, and a second of the same kind', async () => {
    const { client } = await startForward({ openStreams: 2 });
    const { port } = await startService((socket) => socket.resume());
    const twice = await client.open({ streamtype: 'error', port: `${port}`, requestid: '1' });
    const second = await client.open({ streamtype: 'error', port: `${port}`, requestid: '1' });
    await second.until(({ resetStatus }) => resetStatus === 3);
    await client.open({ streamtype: 'data', port: `${port}`, requestid: '1' });
    const third = await client.open({ streamtype: 'error', port: `${port}`, requestid: '2' });
    await third.until(({ resetStatus }) => resetStatus === 3);
    expect(twice.replied).toBe(true);
    client.destroy();
  });

  test('a stalled connection in the pod does not stop the others before its buffer is full', async () => {
    const { client } = await startForward();
    const stalled = await startService((socket) => socket.pause());
    const echo = await startService((socket) => socket.pipe(socket));
    const slow = await openPair(client, stalled.port, '1');
    const fast = await openPair(client, echo.port, '2');
    await client.send(slow.data, Buffer.alloc(500_000));
    await client.send(fast.data, 'through');
    await fast.data.until((stream) => stream.text === 'through');
    client.destroy();
  });

  test('a client that vanishes takes its connections with it', async () => {
    const { client, backend, server } = await startForward();
    const { port, sockets } = await startService((socket) => socket.resume());
    for (let index = 0; index < 5; index++) await openPair(client, port, `${index}`);
    await eventually(() => sockets.size === 5);
    client.destroy();
    await eventually(() => backend.sockets.size === 0 && server.openConnections === 0);
  });

  test('a server that is closed in the middle ends the client’s connection', async () => {
    const { client, backend, server } = await startForward();
    const { port } = await startService((socket) => socket.pipe(socket));
    const { data } = await openPair(client, port, '1');
    await client.send(data, 'x');
    await data.until((stream) => stream.text === 'x');
    await server.close();
    await client.untilClosed();
    await eventually(() => backend.sockets.size === 0);
    await server.close();
  });

  test('gives up a connection that nobody answers', async () => {
    // The two streams of the pair must come within this time too.
    const { client, backend } = await startForward({ setupMs: 1500 });
    let signal: AbortSignal | undefined;
    backend.connect = (_request, aborted) => {
      signal = aborted;
      return new Promise(() => undefined);
    };
    const { error } = await openPair(client, 80, '1');
    expect(await error.toEnd()).toBe(
      'error forwarding port 80 to pod s1: Cannot connect: no answer within 1500 ms',
    );
    expect(signal?.aborted).toBe(true);
    client.destroy();
  });
});
