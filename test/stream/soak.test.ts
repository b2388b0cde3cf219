import { describe, expect, test } from 'vitest';
import { connectSpdy, requestUpgrade, SPDY_UPGRADE, type SpdyClient } from './spdy-client.js';
import {
  eventually,
  execRequest,
  heldBytes,
  openDescriptors,
  type StreamingRig,
  startRig,
} from './streaming-rig.js';
import { startService } from './tcp-services.js';
import { ChannelClient, connectTunnel } from './web-socket-client.js';

/** 1 is what every run does; 100 is a real soak, which takes an hour. */
const FACTOR = Number(process.env['CAIS_SOAK_FACTOR'] ?? 1);
const SESSIONS = 100 * FACTOR;
const AT_ONCE = 10;
/** The first sessions load code and fill pools. */
const WARM_UP = 10;
const MAX_GROWTH_BYTES = 3_000_000;

const V5 = 'v5.channel.k8s.io';
const FORWARD = 'portforward.k8s.io';
const TYPES = ['error', 'stdin', 'stdout', 'stderr'] as const;

interface Place extends StreamingRig {
  readonly port: number;
}

const execUrl = ({ server }: Place) => server.execUrl(execRequest(['cat'], { stdin: true }));
const attachUrl = ({ server }: Place) =>
  server.attachUrl({ ...execRequest([]), stdin: true, stderr: false });
const forwardUrl = ({ server }: Place) => server.portForwardUrl({ sandboxId: 's1' });

async function openPair(client: SpdyClient, port: number) {
  const headers = { port: `${port}`, requestid: '1' };
  await client.open({ streamtype: 'error', ...headers });
  return await client.open({ streamtype: 'data', ...headers });
}

/** Goes through a session up to a step of the protocol, and vanishes there. */
const DROPS: [string, (place: Place) => Promise<void>][] = [
  ['exec: after the upgrade', async (place) => (await connectSpdy(execUrl(place))).destroy()],
  [
    'exec: in the middle of the upgrade’s answer',
    async (place) => {
      const headers = { ...SPDY_UPGRADE, 'X-Stream-Protocol-Version': 'v4.channel.k8s.io' };
      (await requestUpgrade({ url: execUrl(place), headers })).socket?.resetAndDestroy();
    },
  ],
  [
    'exec: after some streams',
    async (place) => {
      const client = await connectSpdy(execUrl(place));
      await client.openAll('error', 'stdin');
      client.destroy();
    },
  ],
  [
    'exec: after all streams were asked for',
    async (place) => {
      const client = await connectSpdy(execUrl(place));
      for (const type of TYPES) await client.open({ streamtype: type });
      client.destroy();
    },
  ],
  [
    'exec: while the process runs',
    async (place) => {
      const client = await connectSpdy(execUrl(place));
      const { stdin, stdout } = await client.openAll(...TYPES);
      await client.send(stdin, 'x');
      await stdout.until(({ text }) => text === 'x');
      client.destroy();
    },
  ],
  [
    'exec: in the middle of a frame',
    async (place) => {
      const client = await connectSpdy(execUrl(place));
      await client.openAll(...TYPES);
      client.transport.end(Buffer.from('000000030000ffff78', 'hex'));
      await client.untilClosed();
    },
  ],
  [
    'exec: with resets and a goodbye',
    async (place) => {
      const client = await connectSpdy(execUrl(place));
      await client.openAll(...TYPES);
      client.leave();
      await client.untilClosed();
    },
  ],
  [
    'exec: after the end of its input',
    async (place) => {
      const client = await connectSpdy(execUrl(place));
      const { stdin } = await client.openAll(...TYPES);
      client.end(stdin);
      client.destroy();
    },
  ],
  [
    'exec: to the end',
    async (place) => {
      const client = await connectSpdy(execUrl(place));
      const { stdin, error } = await client.openAll(...TYPES);
      client.end(stdin);
      await error.toEnd();
      await client.untilClosed();
    },
  ],
  [
    'attach: while it is attached',
    async (place) => {
      const client = await connectSpdy(attachUrl(place));
      await client.openAll('error', 'stdin', 'stdout');
      client.destroy();
    },
  ],
  [
    'port-forward: after the first stream',
    async (place) => {
      const client = await connectSpdy(forwardUrl(place), FORWARD);
      await client.open({ streamtype: 'error', port: '80', requestid: '1' });
      client.destroy();
    },
  ],
  [
    'port-forward: while it dials',
    async (place) => {
      const client = await connectSpdy(forwardUrl(place), FORWARD);
      await openPair(client, place.port);
      client.destroy();
    },
  ],
  [
    'port-forward: while it copies',
    async (place) => {
      const client = await connectSpdy(forwardUrl(place), FORWARD);
      const data = await openPair(client, place.port);
      await client.send(data, 'x');
      await data.until(({ text }) => text === 'x');
      client.destroy();
    },
  ],
  [
    'exec over WebSocket: after the upgrade',
    async (place) => (await ChannelClient.connect(execUrl(place), V5)).webSocket.terminate(),
  ],
  [
    'exec over WebSocket: while the process runs',
    async (place) => {
      const client = await ChannelClient.connect(execUrl(place), V5);
      client.send(0, 'x');
      await client.until(() => client.text(1) === 'x');
      client.webSocket.terminate();
    },
  ],
  [
    'exec over WebSocket: to the end',
    async (place) => {
      const client = await ChannelClient.connect(execUrl(place), V5);
      client.send(255, Buffer.from([0]));
      await client.untilClosed();
    },
  ],
  [
    'port-forward through a tunnel: while it copies',
    async (place) => {
      const client = await connectTunnel(forwardUrl(place), 1000);
      const data = await openPair(client, place.port);
      await client.send(data, 'x');
      await data.until(({ text }) => text === 'x');
      client.destroy();
    },
  ],
  [
    'port-forward over WebSocket: while it copies',
    async (place) => {
      const url = `${forwardUrl(place)}?port=${place.port}`;
      const client = await ChannelClient.connect(url, 'v4.channel.k8s.io');
      client.send(0, 'x');
      await client.until(() => client.text(0).endsWith('x'));
      client.webSocket.terminate();
    },
  ],
];

describe(`${SESSIONS} sessions dropped`, () => {
  test.each(DROPS)('%s: nothing is left', { timeout: 60_000 * FACTOR }, async (_, drop) => {
    const service = await startService((socket) => socket.pipe(socket));
    const place: Place = { ...(await startRig()), port: service.port };
    // The sessions are in question; processes would only make them slow.
    place.backend.onExec = async ({ stdin, stdout, stderr }) => {
      for await (const piece of stdin ?? []) stdout?.write(piece);
      stdout?.end();
      stderr?.end();
      return { exitCode: 0 };
    };
    const settle = () =>
      eventually(
        () =>
          place.server.openConnections === 0 &&
          place.backend.sockets.size === 0 &&
          service.sockets.size === 0,
      );
    await run(WARM_UP, () => drop(place));
    await settle();
    const [descriptors, bytes] = [openDescriptors(), heldBytes()];
    await run(SESSIONS, () => drop(place));
    await settle();
    await eventually(() => openDescriptors() <= descriptors);
    // The buffers of zlib are freed a little later than their owners.
    await eventually(() => heldBytes() - bytes < MAX_GROWTH_BYTES);
    expect(place.errors).toEqual([]);
  });
});

async function run(count: number, session: () => Promise<void>): Promise<void> {
  for (let done = 0; done < count; done += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, session));
  }
}
