import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { StartError } from '../../src/errors.js';
import { connectSpdy, type SpdyClient } from './spdy-client.js';
import { eventually, execRequest, heldBytes, shell, startRig, statusOf } from './streaming-rig.js';

const SUCCESS = { metadata: {}, status: 'Success' };

describe('exec over SPDY', () => {
  test.each([0, 1, 7, 126, 127, 137])('tells exit code %i', async (code) => {
    const { server } = await startRig();
    const client = await connectSpdy(
      server.execUrl(shell(`printf out; printf err >&2; exit ${code}`)),
    );
    const { error, stdout, stderr } = await client.openAll('error', 'stdout', 'stderr');
    const status = await statusOf(client, error);
    expect([stdout.text, stderr.text]).toEqual(['out', 'err']);
    expect([stdout.ended, stderr.ended, error.ended]).toEqual([true, true, true]);
    expect(client.goAway).toEqual({ lastStreamId: 5, status: 0 });
    expect(status).toEqual(
      code === 0
        ? SUCCESS
        : {
            metadata: {},
            status: 'Failure',
            reason: 'NonZeroExitCode',
            message: `command terminated with non-zero exit code: ${code}`,
            details: { causes: [{ reason: 'ExitCode', message: String(code) }] },
          },
    );
  });

  test('ends when the client ends its input, and resets the input stream', async () => {
    const { server } = await startRig();
    const client = await connectSpdy(server.execUrl(execRequest(['wc', '-c'], { stdin: true })));
    const { error, stdin, stdout } = await client.openAll('error', 'stdin', 'stdout', 'stderr');
    await client.send(stdin, 'x'.repeat(100_000));
    client.end(stdin);
    expect(await statusOf(client, error)).toEqual(SUCCESS);
    expect(stdout.text.trim()).toBe('100000');
    expect(stdin.resetStatus).toBe(5);
  });

  test('takes streams in any order, and the end of input before all are there', async () => {
    const { server } = await startRig();
    const client = await connectSpdy(server.execUrl(execRequest(['cat'], { stdin: true })));
    const { stdin, stdout } = await client.openAll('stdin', 'stdout');
    await client.send(stdin, 'early');
    client.end(stdin);
    const { error } = await client.openAll('stderr', 'error');
    expect(await statusOf(client, error)).toEqual(SUCCESS);
    expect(stdout.text).toBe('early');
  });

  test('carries every byte value both ways', async () => {
    const { server } = await startRig();
    const bytes = Buffer.from(Array.from({ length: 65_536 }, (_, index) => (index * 7) & 0xff));
    const client = await connectSpdy(server.execUrl(execRequest(['cat'], { stdin: true })));
    const { error, stdin, stdout } = await client.openAll('error', 'stdin', 'stdout', 'stderr');
    await client.send(stdin, bytes);
    client.end(stdin);
    await statusOf(client, error);
    expect(stdout.bytes.equals(bytes)).toBe(true);
  });

  test('takes 100 MB in', async () => {
    const { server } = await startRig();
    const client = await connectSpdy(server.execUrl(execRequest(['sha256sum'], { stdin: true })));
    const { error, stdin, stdout } = await client.openAll('error', 'stdin', 'stdout', 'stderr');
    const piece = Buffer.alloc(1_000_000, 'cais');
    const hash = createHash('sha256');
    for (let index = 0; index < 100; index++) {
      hash.update(piece);
      await client.send(stdin, piece);
    }
    client.end(stdin);
    await statusOf(client, error);
    expect(stdout.text.split(' ')[0]).toBe(hash.digest('hex'));
  });

  test('gives 100 MB to a slow reader in bounded memory', async () => {
    const { server } = await startRig();
    const total = 100_000_000;
    const client = await connectSpdy(server.execUrl(shell(`head -c ${total} /dev/zero`)));
    const { error, stdout } = await client.openAll('error', 'stdout', 'stderr');
    let bytes = stdout.bytes.length;
    stdout.received.push = (piece) => {
      bytes += piece.length;
      return 0;
    };
    const before = heldBytes();
    client.transport.pause();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    // What fits into the kernel's buffers and ours; the process is stopped by its pipe.
    expect(heldBytes() - before).toBeLessThan(8_000_000);
    client.transport.resume();
    await statusOf(client, error);
    expect(bytes).toBe(total);
  });

  test('keeps the order within each output', async () => {
    const { server } = await startRig();
    const script = 'i=0; while [ $i -lt 2000 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done';
    const client = await connectSpdy(server.execUrl(shell(script)));
    const { error, stdout, stderr } = await client.openAll('error', 'stdout', 'stderr');
    await statusOf(client, error);
    const expected = (letter: string) =>
      Array.from({ length: 2000 }, (_, index) => `${letter}${index}\n`).join('');
    expect(stdout.text).toBe(expected('o'));
    expect(stderr.text).toBe(expected('e'));
  });

  test('tells the sizes of the terminal, the first one at once, and leaves out zeros', async () => {
    const { server, backend } = await startRig();
    const request = execRequest(['cat'], { stdin: true, stderr: false, terminal: true });
    const client = await connectSpdy(server.execUrl(request));
    const { error, stdin, resize } = await client.openAll('error', 'stdin', 'stdout', 'resize');
    const reach = (count: number) => eventually(() => backend.sizes.length === count);
    await client.send(resize, '{"Width":99,"Height":33}\n');
    await reach(1);
    await client.send(resize, '{"Width":0,"Height":0}\n{"Width":1');
    await client.send(resize, '00,"Height":34}');
    await reach(2);
    client.end(stdin);
    await statusOf(client, error);
    expect(backend.sizes).toEqual([
      { columns: 99, rows: 33 },
      { columns: 100, rows: 34 },
    ]);
  });

  test('tells an error of the backend as an internal error', async () => {
    const { server, backend } = await startRig();
    backend.onExec = () => Promise.reject(new Error('no such user "bob"'));
    const client = await connectSpdy(server.execUrl(shell('true')));
    const { error } = await client.openAll('error', 'stdout', 'stderr');
    expect(await statusOf(client, error)).toEqual({
      metadata: {},
      status: 'Failure',
      reason: 'InternalError',
      code: 500,
      message: 'Internal error occurred: error executing command in container: no such user "bob"',
    });
  });

  test.each([
    ['ENOENT', '127'],
    ['EACCES', '126'],
  ])(
    'adds the exit code of a shell when the program cannot be run: %s',
    async (errnoCode, code) => {
      const { server, backend } = await startRig();
      backend.onExec = () =>
        Promise.reject(new StartError('no', { step: 'exec', errnoCode, path: '/x' }));
      const client = await connectSpdy(server.execUrl(shell('true')));
      const { error } = await client.openAll('error', 'stdout', 'stderr');
      expect(await statusOf(client, error)).toMatchObject({
        reason: 'InternalError',
        details: { causes: [{ reason: 'ExitCode', message: code }] },
      });
    },
  );

  test.each(['v3.channel.k8s.io', 'v2.channel.k8s.io', 'channel.k8s.io'])(
    'tells the outcome as text in %s, nothing for success',
    async (version) => {
      const { server } = await startRig();
      for (const [script, text] of [
        ['exit 7', 'command terminated with non-zero exit code: 7'],
        ['true', ''],
      ] as const) {
        const client = await connectSpdy(server.execUrl(shell(script)), version);
        const { error } = await client.openAll('error', 'stdout', 'stderr');
        expect(await error.toEnd()).toBe(text);
        client.destroy();
      }
    },
  );

  test('expects no resize stream before version 3', async () => {
    const { server } = await startRig();
    const request = shell('printf x', { stderr: false, terminal: true });
    const client = await connectSpdy(server.execUrl(request), 'v2.channel.k8s.io');
    const { stdout } = await client.openAll('error', 'stdout');
    expect(await stdout.toEnd()).toBe('x');
  });

  test('answers the client’s pings and ignores its answers, settings and windows', async () => {
    const { server } = await startRig();
    const client = await connectSpdy(server.execUrl(execRequest(['cat'], { stdin: true })));
    const { error, stdin } = await client.openAll('error', 'stdin', 'stdout', 'stderr');
    client.ping(1);
    client.ping(2);
    client.control(4, { body: Buffer.from('0000000100000004000fffff', 'hex') });
    client.control(9, { body: Buffer.from('0000000300001000', 'hex') });
    client.ping(3);
    client.end(stdin);
    await statusOf(client, error);
    expect(client.pings).toEqual([1, 3]);
  });

  test('runs 200 at the same time', { timeout: 120_000 }, async () => {
    const { server, backend } = await startRig();
    // Real processes would measure the machine; the sessions are what counts.
    backend.onExec = async (streams) => {
      for await (const piece of streams.stdin ?? []) streams.stdout?.write(piece);
      streams.stdout?.end();
      streams.stderr?.end();
      return { exitCode: 3 };
    };
    const clients = await Promise.all(
      Array.from({ length: 200 }, async (_, index) => {
        const client = await connectSpdy(server.execUrl(shell('', { stdin: true })));
        const streams = await client.openAll('error', 'stdin', 'stdout', 'stderr');
        return { client, streams, text: `session ${index}` };
      }),
    );
    const outputs = await Promise.all(
      clients.map(async ({ client, streams, text }) => {
        await client.send(streams.stdin, text);
        client.end(streams.stdin);
        await statusOf(client, streams.error);
        return streams.stdout.text === text;
      }),
    );
    expect(outputs.every(Boolean)).toBe(true);
    await eventually(() => server.openConnections === 0);
  });
});

describe('a client that vanishes', () => {
  const start = async (client: SpdyClient) =>
    await client.openAll('error', 'stdin', 'stdout', 'stderr');

  test('ends the input after what it has sent, and the outputs are destroyed', async () => {
    const { server, backend } = await startRig();
    let seen = '';
    let outputs: boolean[] = [];
    const done = new Promise<void>((resolve) => {
      backend.onExec = async ({ stdin, stdout, stderr, signal }) => {
        await new Promise((aborted) => signal.addEventListener('abort', aborted));
        for await (const piece of stdin ?? []) seen += piece;
        outputs = [stdout?.destroyed === true, stderr?.destroyed === true];
        resolve();
        return { exitCode: 0 };
      };
    });
    const client = await connectSpdy(server.execUrl(shell('', { stdin: true })));
    const { stdin } = await start(client);
    await client.send(stdin, 'last words');
    client.ping(1);
    while (client.pings.length === 0) await client.changed();
    client.destroy();
    await done;
    expect(seen).toBe('last words');
    expect(outputs).toEqual([true, true]);
    await eventually(() => server.openConnections === 0);
  });

  test('is no error when it resets its streams and says goodbye first', async () => {
    const { server, backend, errors } = await startRig();
    const client = await connectSpdy(server.execUrl(execRequest(['cat'], { stdin: true })));
    await start(client);
    client.leave();
    await client.untilClosed();
    await eventually(() => backend.children.size === 0 && server.openConnections === 0);
    expect(errors).toEqual([]);
  });

  test('is noticed although nothing is read from it any more', async () => {
    const { server, backend } = await startRig({ probeMs: 50, streamBufferBytes: 1000 });
    backend.onExec = ({ signal }) =>
      new Promise((resolve) => signal.addEventListener('abort', () => resolve({ exitCode: 0 })));
    const client = await connectSpdy(server.execUrl(shell('', { stdin: true })));
    const { stdin } = await start(client);
    await client.send(stdin, 'x'.repeat(200_000));
    await eventually(() => client.pings.includes(2));
    client.destroy();
    await eventually(() => backend.lost === 1 && server.openConnections === 0);
  });
});

describe('attach over SPDY', () => {
  test('joins client and process, for two clients at once', async () => {
    const { server, backend } = await startRig();
    const streams: NodeJS.WritableStream[] = [];
    let finish: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => {
      finish = resolve;
    });
    backend.onAttach = async ({ stdout }) => {
      if (stdout) streams.push(stdout);
      await ended;
      stdout?.end();
    };
    const request = {
      containerId: 'c1',
      terminal: false,
      stdin: false,
      stdout: true,
      stderr: false,
    };
    const clients = await Promise.all([1, 2].map(() => connectSpdy(server.attachUrl(request))));
    const opened = await Promise.all(clients.map((client) => client.openAll('error', 'stdout')));
    await eventually(() => streams.length === 2);
    for (const stream of streams) stream.write('tick\n');
    finish();
    for (const [index, { error, stdout }] of opened.entries()) {
      const client = clients[index];
      if (client) expect(await statusOf(client, error)).toEqual(SUCCESS);
      expect(stdout.text).toBe('tick\n');
    }
  });

  test('tells an error of the backend', async () => {
    const { server, backend } = await startRig();
    backend.onAttach = () => Promise.reject(new Error('it has ended'));
    const client = await connectSpdy(server.attachUrl(shell('true')));
    const { error } = await client.openAll('error', 'stdout', 'stderr');
    expect(await statusOf(client, error)).toMatchObject({
      reason: 'InternalError',
      message: 'Internal error occurred: error attaching to container: it has ended',
    });
  });
});
