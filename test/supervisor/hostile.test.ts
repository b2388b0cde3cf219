import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { execSpec, MountFlag, TestSandbox } from '../fixtures/supervisor.js';

let sandbox: TestSandbox;

beforeAll(async () => {
  sandbox = await TestSandbox.start();
});

afterAll(() => sandbox.dispose());

describe('an image or volume that plays tricks', () => {
  test('gets a working directory inside its root, or none, for every /proc/self/fd/N', async () => {
    const id = await sandbox.run('sleep 1000');
    for (let fd = 0; fd < 24; fd++) {
      const workingDirectory = `/proc/self/fd/${fd}`;
      await expect(sandbox.run('pwd', { spec: { workingDirectory } })).rejects.toMatchObject({
        step: 'cwd',
      });
      await expect(
        sandbox.client.start(
          { ...execSpec(`exec${fd}`, id, ['pwd']), workingDirectory },
          { what: 'exec', fds: [] },
        ),
      ).rejects.toMatchObject({ step: 'cwd' });
    }
    await sandbox.client.stop({ id, signal: 9 });
    await sandbox.exit(id);
  });

  test('cannot lead a mount or a file out of the root by links', async () => {
    const outside = join(sandbox.directory, 'outside');
    const source = join(sandbox.directory, 'volume');
    mkdirSync(outside);
    mkdirSync(source);
    writeFileSync(join(outside, 'hosts'), 'untouched');
    const done = await sandbox.complete('ls /escape/made; cat /etc/hosts', {
      prepare: (root) => {
        symlinkSync(outside, join(root, 'escape'));
        symlinkSync(join(outside, 'hosts'), join(root, 'etc/hosts'));
      },
      spec: {
        files: [{ destination: '/etc/hosts', content: 'inside\n', mode: 0o644 }],
        mounts: [
          { type: 'proc', destination: '/proc' },
          { type: 'bind', destination: '/escape/made/deep', source, flags: MountFlag.bind },
        ],
      },
    });
    expect(done.output.stdout).toBe('deep\ninside\n');
    expect(readdirSync(outside)).toEqual(['hosts']);
    expect(readFileSync(join(outside, 'hosts'), 'utf8')).toBe('untouched');
  });

  test('has its own /dev/null not taken for masks', async () => {
    const volume = join(sandbox.directory, 'dev');
    mkdirSync(volume);
    writeFileSync(join(volume, 'null'), 'not a device');
    const { output } = await sandbox.complete('cat /etc/secret; stat -c %F /etc/secret', {
      prepare: (root) => writeFileSync(join(root, 'etc/secret'), 'secret'),
      spec: {
        maskedPaths: ['/etc/secret'],
        mounts: [{ type: 'bind', destination: '/dev', source: volume, flags: MountFlag.bind }],
      },
    });
    expect(output.stdout).toBe('character special file\n');
  });

  test('cannot put a terminal in place of the real one', async () => {
    const volume = join(sandbox.directory, 'pts');
    mkdirSync(volume);
    writeFileSync(join(volume, 'ptmx'), '');
    const started = sandbox.run('true', {
      spec: {
        terminal: true,
        mounts: [{ type: 'bind', destination: '/dev/pts', source: volume, flags: MountFlag.bind }],
      },
    });
    await expect(started).rejects.toMatchObject({ step: 'session', errnoCode: 'ENODEV' });
  });

  test.each([
    'net.ipv4.ip_forward+x',
    'kernel.core_pattern',
    'net/../kernel/core_pattern',
    'vm.swappiness',
  ])('cannot set %s of the machine by a sysctl', async (key) => {
    await expect(TestSandbox.start({ sysctls: { [key]: '1' } })).rejects.toThrow(/EPERM/);
  });
});

describe('the supervisor', () => {
  test('closes a connection that sends nonsense and serves the others', async () => {
    const socket = createConnection(join(sandbox.runDirectory, 'control.sock'));
    await new Promise<void>((resolve) => {
      socket.on('close', () => resolve());
      socket.on('error', () => {});
      socket.write(Buffer.alloc(64, 0xff));
    });
    expect((await sandbox.client.status()).hasOwner).toBe(true);
  });

  test('keeps no descriptor, process or zombie of what has ended', async () => {
    const count = () => readdirSync(`/proc/${sandbox.pid}/fd`).length;
    const before = count();
    for (let turn = 0; turn < 6; turn++) {
      const { id } = await sandbox.complete('(sleep 0 &) ; true', { spec: { id: `turn${turn}` } });
      await expect(
        sandbox.run('true', { spec: { id: `bad${turn}`, arguments: ['absent'] } }),
      ).rejects.toThrow();
      await sandbox.client.forget(id);
    }
    // The last failed start is reaped a moment after its answer.
    await expect.poll(count, { timeout: 10_000 }).toBe(before);
    const children = readFileSync(`/proc/${sandbox.pid}/task/${sandbox.pid}/children`, 'utf8');
    expect(children).toBe('');
  });

  test('keeps lower mounts and gives them and its namespaces back', async () => {
    const { client } = sandbox;
    const fd = openSync('/', 'r');
    try {
      await client.keep(['a', 'b', 'c'].map((key) => ({ key, fd })));
    } finally {
      closeSync(fd);
    }
    const given = await client.descriptors({ what: ['net', 'layers', 'uts'], keys: ['c', 'a'] });
    const links = given.fds.map((each) => readlinkSync(`/proc/self/fd/${each}`));
    for (const each of given.fds) closeSync(each);
    expect(given.keys).toEqual(['a', 'c']);
    const namespaceOf = (name: string) => readlinkSync(`/proc/${sandbox.pid}/ns/${name}`);
    expect(links).toEqual([namespaceOf('net'), '/', '/', namespaceOf('uts')]);
    const kept = await client.keptMount('b');
    expect(fstatSync(kept ?? -1).ino).toBe(statSync('/').ino);
    closeSync(kept ?? -1);
    expect(await client.keptMount('d')).toBeUndefined();
    const all = await client.descriptors({ what: ['layers'] });
    for (const each of all.fds) closeSync(each);
    expect(all.keys).toEqual(['a', 'b', 'c']);
    await expect(client.descriptors({ what: ['pid'] })).rejects.toMatchObject({
      errnoCode: 'ESRCH',
    });
  });

  test('keeps as many mounts as leave descriptors for containers, and gives at most 200 at once', async () => {
    const { client } = sandbox;
    const fd = openSync('/', 'r');
    const mounts = Array.from({ length: 600 }, (_, index) => ({ key: `layer ${index}`, fd }));
    try {
      await expect(client.keep(mounts)).rejects.toMatchObject({ errnoCode: 'EMFILE' });
    } finally {
      closeSync(fd);
    }
    const { fds, keys } = await client.descriptors({ what: ['layers'] });
    for (const each of fds) closeSync(each);
    expect(fds.length).toBe(200);
    expect(keys.length).toBe(200);
    expect(await sandbox.complete('echo still here')).toMatchObject({ exitCode: 0 });
  });
});
