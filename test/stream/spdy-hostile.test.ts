import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { connectSpdy, encodeHeaders, type SpdyClient, words } from './spdy-client.js';
import { eventually, execRequest, heldBytes, shell, startRig, statusOf } from './streaming-rig.js';

const SYN_HEAD = Buffer.concat([words(1, 0), Buffer.alloc(2)]);

async function openCat(limits = {}) {
  const rig = await startRig(limits);
  const url = rig.server.execUrl(execRequest(['cat'], { stdin: true }));
  const client = await connectSpdy(url);
  return { ...rig, client };
}

describe('a client that breaks the protocol', () => {
  const frames: [string, (client: SpdyClient) => Promise<void> | void][] = [
    [
      'a frame longer than the limit',
      (client) => {
        client.transport.write(Buffer.from('0000000100ffffff', 'hex'));
      },
    ],
    ['SETTINGS that announce 2^32−1 entries', (client) => client.control(4, { body: words(-1) })],
    [
      'a header count of 2^32−1',
      async (client) => {
        const body = Buffer.concat([SYN_HEAD, await client.compress(words(-1))]);
        client.control(1, { body });
      },
    ],
    [
      'a header length beyond the block',
      async (client) => {
        const body = Buffer.concat([SYN_HEAD, await client.compress(words(1, 0x7fffffff, 0))]);
        client.control(1, { body });
      },
    ],
    [
      'a bomb',
      async (client) => {
        const bomb = await client.compress(Buffer.alloc(40_000_000));
        client.control(1, { body: Buffer.concat([SYN_HEAD, bomb]) });
      },
    ],
    [
      'garbage instead of a header block',
      (client) => client.control(1, { body: Buffer.concat([SYN_HEAD, Buffer.from('garbage')]) }),
    ],
    [
      'another version',
      (client) => {
        client.transport.write(Buffer.from('8002000600000004', 'hex'));
      },
    ],
  ];

  test.each(frames)('with %s is told so and sent away, the server lives', async (_, misbehave) => {
    const { server, client, backend } = await openCat();
    await misbehave(client);
    await client.untilClosed();
    expect(client.goAway).toEqual({ lastStreamId: 0, status: 1 });
    await eventually(() => server.openConnections === 0);
    expect(backend.execs).toEqual([]);
    const next = await connectSpdy(server.execUrl(shell('true')));
    const { error } = await next.openAll('error', 'stdout', 'stderr');
    expect(await statusOf(next, error)).toMatchObject({ status: 'Success' });
  });

  test.each(frames)('with %s in the middle loses its session', async (_, misbehave) => {
    const { server, client, backend } = await openCat();
    await client.openAll('error', 'stdin', 'stdout', 'stderr');
    await misbehave(client);
    await client.untilClosed();
    expect(client.goAway).toEqual({ lastStreamId: 7, status: 1 });
    await eventually(() => backend.children.size === 0 && server.openConnections === 0);
    expect(backend.lost).toBe(1);
  });

  test('any bytes after the upgrade leave the server alive', { timeout: 120_000 }, async () => {
    const { server, errors } = await startRig({ goodbyeMs: 50, setupMs: 50 });
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      fc
        .tuple(fc.constantFrom(1, 2, 3, 4, 6, 7, 8, 9), fc.nat(3), fc.uint8Array({ maxLength: 30 }))
        .map(([type, flags, body]) => {
          const head = Buffer.from([0x80, 3, 0, type, flags, 0, 0, body.length]);
          return Buffer.concat([head, body]);
        }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 8 }), async (pieces) => {
        const client = await connectSpdy(server.execUrl(shell('true')));
        client.transport.removeAllListeners('data');
        client.transport.resume();
        client.transport.write(Buffer.concat(pieces));
        await client.untilClosed();
      }),
      { numRuns: 100 },
    );
    await eventually(() => server.openConnections === 0);
    expect(errors).toEqual([]);
  });
});

describe('a client that asks for the wrong streams', () => {
  test.each([
    ['an unknown one', 'stdlog'],
    ['one that was not requested', 'resize'],
    ['one twice', 'error'],
  ])('%s: it is sent away before anything runs', async (_, type) => {
    const { server, client, backend } = await openCat();
    await client.open({ streamtype: 'error' });
    await client.open({ streamtype: type });
    await client.untilClosed();
    await eventually(() => server.openConnections === 0);
    expect(backend.execs).toEqual([]);
  });

  test('one too many later on is refused, the session goes on', async () => {
    const { client } = await openCat();
    const { error, stdin, stdout } = await client.openAll('error', 'stdin', 'stdout', 'stderr');
    const extra = await client.open({ streamtype: 'stdin' });
    await extra.until(({ resetStatus }) => resetStatus === 3);
    await client.send(stdin, 'on');
    client.end(stdin);
    await statusOf(client, error);
    expect(stdout.text).toBe('on');
  });

  test.each([
    ['an even id', 2],
    ['a used id', 5],
  ])('%s is reset as a protocol error', async (_, id) => {
    const { client } = await openCat();
    await client.openAll('error', 'stdin', 'stdout');
    const stream = await client.open({ streamtype: 'stderr' }, { id });
    await stream.until(({ resetStatus }) => resetStatus === 1);
    client.destroy();
  });

  test('a stream in one direction only is refused', async () => {
    const { client } = await openCat();
    const stream = await client.open({ streamtype: 'error' }, { flags: 2 });
    await stream.until(({ resetStatus }) => resetStatus === 3);
    client.destroy();
  });

  test('a stream may be half-closed at once', async () => {
    const { client } = await openCat();
    const stdin = await client.open({ streamtype: 'stdin' }, { flags: 1 });
    const { error } = await client.openAll('error', 'stdout', 'stderr');
    expect(await statusOf(client, error)).toMatchObject({ status: 'Success' });
    expect(stdin.replied).toBe(true);
  });

  test('frames for unknown and closed streams are ignored', async () => {
    const { client } = await openCat();
    client.data(99, { flags: 0, payload: Buffer.from('nobody') });
    client.reset(98);
    const { error, stdin, stdout } = await client.openAll('error', 'stdin', 'stdout', 'stderr');
    const headers = await client.compress(encodeHeaders({ more: 'headers' }));
    client.control(8, { body: Buffer.concat([words(stdin.id), headers]) });
    await client.send(stdin, 'kept');
    client.end(stdin);
    await client.send(stdin, 'dropped');
    await statusOf(client, error);
    expect(stdout.text).toBe('kept');
  });
});

describe('memory', () => {
  test('a flood of pings from a client that does not read is not answered without end', async () => {
    const { client } = await openCat();
    client.transport.pause();
    const before = heldBytes();
    const pings = Buffer.concat(
      Array.from({ length: 5000 }, () => Buffer.from('800300060000000400000001', 'hex')),
    );
    for (let index = 0; index < 1000; index++) client.transport.write(pings);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const unsent = client.transport.writableLength;
    // The rest is what the server and the kernel have taken.
    expect(heldBytes() - before).toBeLessThan(unsent + 8_000_000);
    expect(unsent).toBeGreaterThan(30_000_000);
    client.destroy();
  });

  test('a flood of input in single bytes fills no memory', async () => {
    const { client, backend } = await openCat();
    backend.onExec = () => new Promise(() => undefined);
    const { stdin } = await client.openAll('error', 'stdin', 'stdout', 'stderr');
    const frame = Buffer.concat([words(stdin.id, 1), Buffer.from('x')]);
    const frames = Buffer.alloc(900_000, frame);
    const before = heldBytes();
    for (let index = 0; index < 50; index++) client.transport.write(frames);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const unsent = client.transport.writableLength;
    expect(unsent).toBeGreaterThan(20_000_000);
    expect(heldBytes() - before).toBeLessThan(8_000_000);
    client.destroy();
  });
});
