import { closeSync, existsSync, openSync, readdirSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadNative } from '../../src/native.js';
import type { LaunchSpec } from '../../src/runtime/supervisor-protocol.js';
import { execSpec, launchSpec, TestSandbox } from '../fixtures/supervisor.js';

const PATIENCE = { timeout: 20_000 * Number(process.env['CAIS_TIME_FACTOR'] ?? 1) };

let sandbox: TestSandbox;
let target: string;

beforeAll(async () => {
  sandbox = await TestSandbox.start();
  target = await sandbox.run('sleep 1000');
});
afterAll(() => sandbox.dispose());

const openNull = () => openSync('/dev/null', 'r+');

/** Starts an exec that reads and writes nothing. */
async function start(id: string, script: string, spec: Partial<LaunchSpec> = {}): Promise<void> {
  const fds = [openNull(), openNull(), openNull()];
  try {
    await sandbox.client.start(
      {
        ...execSpec(id, target, ['sh', '-c', script]),
        stdioFds: true,
        forgetOnExit: true,
        ...spec,
      },
      { what: id, fds },
    );
  } finally {
    for (const fd of fds) closeSync(fd);
  }
}

/** Cgroups inside the container's, in any hierarchy. */
function ownCgroups(): string[] {
  const { v1, v2 } = loadNative().cgroupLayout();
  return [...v1, ...(v2 === null ? [] : [v2])].flatMap(({ mountpoint }) => {
    const directory = join(mountpoint, sandbox.cgroup, target);
    if (!existsSync(directory)) return [];
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  });
}

test('an exec that is forgotten at its end leaves no record, and its id can be taken again', async () => {
  await start('again', 'exit 3');
  expect(await sandbox.exit('again')).toMatchObject({ exitCode: 3 });
  const { containers } = await sandbox.client.status();
  expect(containers.map(({ id }) => id)).toEqual([target]);
  sandbox.exits.length = 0;
  await start('again', 'exit 4');
  expect(await sandbox.exit('again')).toMatchObject({ exitCode: 4 });
});

test('SIGKILL takes everything in the cgroup of an exec, and the cgroup goes with it', async () => {
  await start('killed', 'setsid sleep 1000 & sleep 1000', { ownCgroup: true });
  expect(ownCgroups()).toEqual(['killed']);
  await sandbox.client.stop({ id: 'killed', signal: 9 });
  expect(await sandbox.exit('killed')).toMatchObject({ exitCode: 137 });
  // Killed grandchildren may still be on their way out; the next exec removes what is left.
  await expect
    .poll(async () => {
      await start('sweep', 'true', { ownCgroup: true });
      await sandbox.exit('sweep');
      sandbox.exits.length = 0;
      return ownCgroups();
    }, PATIENCE)
    .toEqual([]);
});

test('what an exec leaves running keeps its cgroup; the failed start of one leaves none', async () => {
  await start('left', 'setsid sleep 1000 & exit 0', { ownCgroup: true });
  await sandbox.exit('left');
  expect(ownCgroups()).toEqual(['left']);
  await expect(start('bad', '', { ownCgroup: true, arguments: ['/nope'] })).rejects.toMatchObject({
    step: 'exec',
  });
  await expect.poll(ownCgroups, PATIENCE).toEqual(['left']);
});

test('a terminal client gets raw bytes, and an end when the process has ended', async () => {
  const { fd, peerFd } = loadNative().createSocketPair();
  const socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
  let output = '';
  socket.on('data', (bytes) => {
    output += bytes.toString('latin1');
  });
  const ended = new Promise((resolve) => socket.once('end', resolve));
  try {
    try {
      await sandbox.client.start(
        {
          ...execSpec('tty', target, ['sh', '-c', 'stty size; read x; stty size; echo "got $x"']),
          terminal: true,
          terminalClient: true,
          forgetOnExit: true,
          windowSize: { rows: 11, columns: 22 },
        },
        { what: 'tty', fds: [peerFd] },
      );
    } finally {
      closeSync(peerFd);
    }
    await expect.poll(() => output, PATIENCE).toBe('11 22\r\n');
    await sandbox.client.resize({ id: 'tty', rows: 50, columns: 132 });
    socket.write('it\n');
    await ended;
    expect(output).toBe('11 22\r\nit\r\n50 132\r\ngot it\r\n');
    expect(await sandbox.exit('tty')).toMatchObject({ exitCode: 0 });
  } finally {
    socket.destroy();
  }
});

test.each<[string, Partial<LaunchSpec>]>([
  ['a container that is forgotten', { kind: 'container', forgetOnExit: true, rootFd: 0 }],
  ['a container in a cgroup inside another', { kind: 'container', ownCgroup: true, rootFd: 0 }],
  ['a client without a terminal', { terminalClient: true }],
  ['a client beside descriptors', { terminalClient: true, terminal: true, stdioFds: true }],
])('%s is refused', async (_what, changes) => {
  const spec = { ...launchSpec('odd', ['true']), ...execSpec('odd', target, ['true']), ...changes };
  const fd = openNull();
  try {
    await expect(
      sandbox.client.start({ ...spec, mounts: [] }, { what: 'odd', fds: [fd] }),
    ).rejects.toMatchObject({ errnoCode: 'EPROTO' });
  } finally {
    closeSync(fd);
  }
});

test('a client whose socket is missing is refused', async () => {
  await expect(
    sandbox.client.start(
      { ...execSpec('none', target, ['true']), terminal: true, terminalClient: true },
      { what: 'none', fds: [] },
    ),
  ).rejects.toMatchObject({ errnoCode: 'EBADF' });
});
