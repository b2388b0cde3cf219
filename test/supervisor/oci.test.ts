import { closeSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LaunchOci } from '../../src/runtime/launch-oci.js';
import { execSpec, launchSpec, TestSandbox } from '../fixtures/supervisor.js';

let sandbox: TestSandbox;
beforeAll(async () => {
  sandbox = await TestSandbox.start();
});
afterAll(() => sandbox.dispose());

const runtime = (changes: Partial<LaunchOci> = {}): LaunchOci => ({
  program: '/bin/false',
  options: [],
  root: '/nowhere/state',
  bundle: sandbox.directory,
  mounts: [],
  ...changes,
});

async function start(oci: LaunchOci, kind: 'container' | 'exec' = 'container'): Promise<unknown> {
  const root = await sandbox.root();
  const spec =
    kind === 'exec' ? execSpec('a', 'other', ['true']) : { ...launchSpec('a', ['true']), oci };
  try {
    return await sandbox.client.start(
      { ...spec, oci, cgroups: [] },
      { what: 'container "a"', fds: [root] },
    );
  } finally {
    closeSync(root);
  }
}

describe('START with an OCI runtime', () => {
  test.each([
    [{ mounts: [{ path: '/etc' }] }, 'the path leaves the bundle'],
    [{ program: 'runc' }, 'OCI runtime "runc" is no absolute path'],
    [{ root: 'state' }, 'root of the OCI runtime "state" is no absolute path'],
    [{ bundle: 'bundle' }, 'bundle "bundle" is no absolute path'],
  ])('refuses %j', async (changes, message) => {
    await expect(start(runtime(changes))).rejects.toMatchObject({
      step: 'clone',
      errnoCode: 'EPROTO',
      message: expect.stringContaining(message),
    });
  });

  test('refuses an exec with a runtime of its own', async () => {
    await expect(start(runtime(), 'exec')).rejects.toThrow('only a container has an OCI runtime');
  });

  test('refuses a descriptor that the frame does not have', async () => {
    const path = `${sandbox.directory}/volume`;
    await expect(start(runtime({ mounts: [{ path, sourceFd: 7 }] }))).rejects.toMatchObject({
      errnoCode: 'EBADF',
    });
  });

  test('says why a bundle cannot be used, and keeps nothing of the container', async () => {
    const bundle = `${sandbox.directory}/absent`;
    await expect(start(runtime({ bundle }))).rejects.toMatchObject({
      step: 'runtime',
      errnoCode: 'ENOENT',
    });
    expect((await sandbox.client.status()).containers).toEqual([]);
  });

  test('says what the runtime ended with when it says nothing itself', async () => {
    await expect(start(runtime())).rejects.toMatchObject({
      step: 'runtime',
      message: expect.stringContaining('"/bin/false" says: '),
    });
    expect((await sandbox.client.status()).containers).toEqual([]);
  });
});
