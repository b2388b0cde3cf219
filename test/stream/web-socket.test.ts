import { describe, expect, test } from 'vitest';
import { eventually, execRequest, heldBytes, shell, startRig } from './streaming-rig.js';
import { closedPort, startService } from './tcp-services.js';
import { ChannelClient, connectTunnel, requestWebSocket } from './web-socket-client.js';

const [STDIN, STDOUT, STDERR, ERROR, RESIZE] = [0, 1, 2, 3, 4] as const;
const V5 = 'v5.channel.k8s.io';
const V4 = 'v4.channel.k8s.io';

describe('exec over WebSocket', () => {
  test.each([
    ['v5.channel.k8s.io', 'json'],
    ['v4.channel.k8s.io', 'json'],
    ['v4.base64.channel.k8s.io', 'json'],
    ['channel.k8s.io', 'text'],
    ['base64.channel.k8s.io', 'text'],
    [undefined, 'text'],
  ])('gives output and outcome in %s', async (protocol, form) => {
    const { server } = await startRig();
    const url = server.execUrl(shell('printf out; printf err >&2; exit 7'));
    const client = await ChannelClient.connect(url, protocol);
    expect(client.webSocket.protocol).toBe(protocol ?? '');
    expect(await client.untilClosed()).toBe(1000);
    expect([client.text(STDOUT), client.text(STDERR)]).toEqual(['out', 'err']);
    const status = client.text(ERROR);
    if (form === 'text') expect(status).toBe('command terminated with non-zero exit code: 7');
    else
      expect(JSON.parse(status)).toMatchObject({
        status: 'Failure',
        reason: 'NonZeroExitCode',
        details: { causes: [{ reason: 'ExitCode', message: '7' }] },
      });
    // Before version 5 the first message is empty and says that the channels are there.
    const first = client.messages[0];
    expect(first?.payload.length === 0).toBe(protocol !== V5);
    if (protocol !== V5) expect(first?.channel).toBe(STDOUT);
  });

  test('tells success as an object in version 4 and not at all before', async () => {
    const { server } = await startRig();
    for (const [protocol, text] of [
      [V4, '{"metadata":{},"status":"Success"}'],
      ['channel.k8s.io', ''],
    ] as const) {
      const client = await ChannelClient.connect(server.execUrl(shell('true')), protocol);
      await client.untilClosed();
      expect(client.text(ERROR)).toBe(text);
    }
  });

  test('ends the input alone in version 5', async () => {
    const { server } = await startRig();
    const url = server.execUrl(execRequest(['wc', '-c'], { stdin: true }));
    const client = await ChannelClient.connect(url, V5);
    client.send(STDIN, 'x'.repeat(100_000));
    client.send(255, Buffer.from([STDIN]));
    expect(await client.untilClosed()).toBe(1000);
    expect(client.text(STDOUT).trim()).toBe('100000');
  });

  test('ends the input with the connection in version 4', async () => {
    const { server, backend } = await startRig();
    const url = server.execUrl(execRequest(['cat'], { stdin: true }));
    const client = await ChannelClient.connect(url, V4);
    client.send(255, Buffer.from([STDIN]));
    client.send(STDIN, 'echo');
    await client.until(() => client.text(STDOUT) === 'echo');
    client.webSocket.close(1000);
    await client.untilClosed();
    await eventually(() => backend.children.size === 0 && server.openConnections === 0);
  });

  test.each([V5, 'v4.base64.channel.k8s.io'])(
    'carries every byte value in %s',
    async (protocol) => {
      const { server } = await startRig();
      const url = server.execUrl(execRequest(['cat'], { stdin: true }));
      const client = await ChannelClient.connect(url, protocol);
      const bytes = Buffer.from(Array.from({ length: 200_000 }, (_, index) => index & 0xff));
      client.send(STDIN, bytes);
      await client.until(() => client.bytes(STDOUT).length === bytes.length);
      expect(client.bytes(STDOUT).equals(bytes)).toBe(true);
      expect(Math.max(...client.messages.map(({ payload }) => payload.length))).toBeLessThan(
        32_768,
      );
      client.webSocket.terminate();
    },
  );

  test('tells sizes, answers pings, drops what is for no channel', async () => {
    const { server, backend } = await startRig();
    const request = execRequest(['cat'], { stdin: true, stderr: false, terminal: true });
    const client = await ChannelClient.connect(server.execUrl(request), V5);
    client.send(77, 'nobody');
    client.webSocket.send(Buffer.alloc(0));
    client.send(RESIZE, '{"Width":99,"Height":33}\n');
    client.webSocket.ping();
    await eventually(() => backend.sizes.length === 1 && client.pongs === 1);
    expect(backend.sizes).toEqual([{ columns: 99, rows: 33 }]);
    client.send(255, Buffer.from([STDIN]));
    expect(await client.untilClosed()).toBe(1000);
  });

  test('gives 100 MB to a slow reader in bounded memory', async () => {
    const { server } = await startRig();
    const total = 100_000_000;
    const url = server.execUrl(shell(`head -c ${total} /dev/zero`));
    const client = await ChannelClient.connect(url, V5);
    let bytes = client.bytes(STDOUT).length;
    client.messages.push = (...messages) => {
      for (const { channel, payload } of messages) if (channel === STDOUT) bytes += payload.length;
      return 0;
    };
    client.webSocket.pause();
    const before = heldBytes();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    // On a busy machine 8.5 MB were seen.
    expect(heldBytes() - before).toBeLessThan(16_000_000);
    client.webSocket.resume();
    expect(await client.untilClosed()).toBe(1000);
    expect(bytes).toBe(total);
  });

  test('reads no further than the process does, and notices that the client is gone', async () => {
    const { server, backend } = await startRig({ probeMs: 50, streamBufferBytes: 100_000 });
    let taken: Promise<{ exitCode: number }> | undefined;
    backend.onExec = ({ signal }) => {
      taken = new Promise((resolve) =>
        signal.addEventListener('abort', () => resolve({ exitCode: 0 })),
      );
      return taken;
    };
    const url = server.execUrl(shell('', { stdin: true }));
    const client = await ChannelClient.connect(url, V5);
    const before = heldBytes();
    for (let index = 0; index < 1000; index++) client.send(STDIN, Buffer.alloc(30_000));
    await eventually(() => taken !== undefined);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const buffered = heldBytes() - before - client.webSocket.bufferedAmount;
    expect(buffered).toBeLessThan(8_000_000);
    client.webSocket.terminate();
    await taken;
    await eventually(() => server.openConnections === 0);
  });

  test('closes a connection whose text is no base64', async () => {
    const { server } = await startRig();
    const url = server.execUrl(execRequest(['cat'], { stdin: true }));
    const client = await ChannelClient.connect(url, 'v4.base64.channel.k8s.io');
    client.webSocket.send('0%%%%');
    expect(await client.untilClosed()).toBe(1007);
  });

  test('closes a connection with a message too large', async () => {
    const { server } = await startRig();
    const url = server.execUrl(execRequest(['cat'], { stdin: true }));
    const client = await ChannelClient.connect(url, V5);
    client.send(STDIN, Buffer.alloc(2_000_000));
    expect(await client.untilClosed()).toBe(1009);
    await eventually(() => server.openConnections === 0);
  });

  test.each([
    ['no key', { 'Sec-WebSocket-Key': '' }],
    ['an old version', { 'Sec-WebSocket-Version': '7' }],
  ])('a handshake with %s starts no process', async (_, headers) => {
    const { server, backend } = await startRig();
    const { status } = await requestWebSocket(server.execUrl(shell('true')), headers);
    expect(status).toBeGreaterThanOrEqual(400);
    await eventually(() => server.openConnections === 0);
    expect(backend.execs).toEqual([]);
  });

  test('refuses protocols that it does not speak, and names its own', async () => {
    const { server } = await startRig();
    const answer = await requestWebSocket(server.execUrl(shell('true')), {
      'Sec-WebSocket-Protocol': 'v9.channel.k8s.io, SPDY/3.1+portforward.k8s.io',
    });
    expect(answer.status).toBe(403);
    expect(answer.headers['x-accepted-stream-protocol-versions']).toContain(V5);
  });

  test('takes the first protocol of the client that it speaks', async () => {
    const { server } = await startRig();
    const answer = await requestWebSocket(server.execUrl(shell('true')), {
      'Sec-WebSocket-Protocol': `v9.channel.k8s.io, ${V4}, ${V5}`,
    });
    expect(answer.headers['sec-websocket-protocol']).toBe(V4);
    answer.socket?.destroy();
  });
});

describe('port-forward over WebSocket', () => {
  test.each([1, 7, 65_535])('tunnels SPDY, in messages of %i bytes', async (pieceBytes) => {
    const { server, backend } = await startRig();
    const { port } = await startService((socket) => socket.pipe(socket));
    const url = server.portForwardUrl({ sandboxId: 's1' });
    const client = await connectTunnel(url, pieceBytes);
    const headers = { port: `${port}`, requestid: '0' };
    const error = await client.open({ streamtype: 'error', ...headers });
    client.end(error);
    const data = await client.open({ streamtype: 'data', ...headers });
    await data.until((stream) => stream.replied);
    await client.send(data, Buffer.alloc(5000, 'tunnel'));
    client.end(data);
    expect((await data.toEnd()).length).toBe(5000);
    expect(await error.toEnd()).toBe('');
    client.destroy();
    await eventually(() => backend.sockets.size === 0 && server.openConnections === 0);
  });

  test.each(['v4.channel.k8s.io', 'v4.base64.channel.k8s.io', undefined])(
    'forwards listed ports in the old form: %s',
    async (protocol) => {
      const { server, backend } = await startRig();
      const echo = await startService((socket) => socket.pipe(socket));
      const closed = await closedPort();
      const url = `${server.portForwardUrl({ sandboxId: 's1' })}?port=${echo.port}&port=${closed}`;
      const client = await ChannelClient.connect(url, protocol);
      await client.until(() => client.text(3).includes('ECONNREFUSED'));
      const port = (channel: number) => client.bytes(channel).readUInt16LE(0);
      expect([0, 1, 2, 3].map(port)).toEqual([echo.port, echo.port, closed, closed]);
      client.send(0, 'echo');
      await client.until(() => client.text(0).endsWith('echo'));
      client.webSocket.close();
      await client.untilClosed();
      await eventually(() => backend.sockets.size === 0 && server.openConnections === 0);
    },
  );

  test('closes when all listed ports have ended', async () => {
    const { server } = await startRig();
    const { port } = await startService((socket) => socket.end('bye'));
    const url = server.portForwardUrl({ sandboxId: 's1', ports: [port] });
    const client = await ChannelClient.connect(url, V4);
    expect(await client.untilClosed()).toBe(1000);
    expect(client.bytes(0).subarray(2).toString()).toBe('bye');
  });

  test.each(['', '?port=0', '?port=80&port=x', `?port=${Array(40).fill(80).join(',')}`])(
    'refuses the ports "%s"',
    async (query) => {
      const { server } = await startRig();
      const answer = await requestWebSocket(server.portForwardUrl({ sandboxId: 's1' }) + query, {
        'Sec-WebSocket-Protocol': V4,
      });
      expect(answer.status).toBe(400);
    },
  );
});
