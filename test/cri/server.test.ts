import { lstatSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ContainerState, PodSandboxState } from '../../src/cri/generated/api.js';
import { SocketFile } from '../../src/cri/socket-file.js';
import { CriRig } from './cri-rig.js';
import { collected } from './promise-client.js';

let rig: CriRig;
beforeAll(async () => {
  rig = await CriRig.open();
  await rig.pull();
});
afterAll(() => rig.close());

test('a pod lives and dies through the socket', async () => {
  const sandboxId = await rig.runSandbox('life');
  const containerId = await rig.createContainer(sandboxId, 'app');
  await rig.runtime.call('startContainer', { containerId });
  const running = await rig.runtime.call('containerStatus', { containerId, verbose: true });
  expect(running.status).toMatchObject({ state: ContainerState.CONTAINER_RUNNING });
  expect(JSON.parse(running.info['info'] ?? '')).toMatchObject({ sandboxID: sandboxId });
  await rig.runtime.call('stopContainer', { containerId, timeout: 10n });
  const { status: ended } = await rig.runtime.call('containerStatus', {
    containerId,
    verbose: false,
  });
  expect(ended).toMatchObject({
    state: ContainerState.CONTAINER_EXITED,
    exitCode: 0,
    reason: 'Completed',
  });
  await rig.runtime.call('stopPodSandbox', { podSandboxId: sandboxId });
  const { status: stopped } = await rig.runtime.call('podSandboxStatus', {
    podSandboxId: sandboxId,
    verbose: false,
  });
  expect(stopped).toMatchObject({ state: PodSandboxState.SANDBOX_NOTREADY });
  await rig.runtime.call('removePodSandbox', { podSandboxId: sandboxId });
  await expect(
    rig.runtime.call('podSandboxStatus', { podSandboxId: sandboxId, verbose: false }),
  ).rejects.toMatchObject({ code: status.NOT_FOUND });
});

describe('the same request twice', () => {
  test('makes one sandbox, at the same time and afterwards', async () => {
    const [one, two] = await Promise.all([rig.runSandbox('twice'), rig.runSandbox('twice')]);
    const three = await rig.runSandbox('twice');
    expect(new Set([one, two, three]).size).toBe(1);
    const containers = await Promise.all([
      rig.createContainer(one, 'app'),
      rig.createContainer(one, 'app'),
    ]);
    expect(new Set([...containers, await rig.createContainer(one, 'app')]).size).toBe(1);
    await rig.runtime.call('removePodSandbox', { podSandboxId: one });
  });

  test('gives the finished thing to a client that had gone away, and after a restart', async () => {
    const config = rig.sandboxConfig('impatient');
    const gone = new AbortController();
    const first = rig.runtime.call(
      'runPodSandbox',
      { config, runtimeHandler: '' },
      { signal: gone.signal },
    );
    setTimeout(() => gone.abort(), 5);
    await expect(first).rejects.toMatchObject({ code: status.CANCELLED });
    const again = await rig.runSandbox('impatient');
    await rig.stop();
    await rig.start();
    expect(await rig.runSandbox('impatient')).toBe(again);
    const { items } = await rig.runtime.call('listPodSandbox', { filter: undefined });
    expect(items.map(({ metadata }) => metadata?.name)).toEqual(['impatient']);
    await rig.runtime.call('stopPodSandbox', { podSandboxId: again });
    await expect(rig.runSandbox('impatient')).rejects.toMatchObject({
      code: status.ALREADY_EXISTS,
    });
    await rig.runtime.call('removePodSandbox', { podSandboxId: again });
  });
});

test('ids may be shortened, lists filtered and streamed', async () => {
  const ids = await Promise.all(['a', 'b'].map((name) => rig.runSandbox(`list-${name}`)));
  const [first = ''] = ids;
  const containerId = await rig.createContainer(first, 'app');
  const { status: found } = await rig.runtime.call('podSandboxStatus', {
    podSandboxId: first.slice(0, 12),
    verbose: false,
  });
  expect(found?.id).toBe(first);
  const list = async (filter: object) => {
    const request = { filter: { id: '', state: undefined, labelSelector: {}, ...filter } };
    const { items } = await rig.runtime.call('listPodSandbox', request);
    const streamed = await collected(rig.runtime.client.streamPodSandboxes(request));
    expect(streamed.flatMap(({ podSandboxes }) => podSandboxes)).toEqual(items);
    return items.map(({ id }) => id);
  };
  expect(await list({ labelSelector: { app: 'list-b' } })).toEqual([ids[1]]);
  expect(await list({ id: first.slice(0, 10) })).toEqual([first]);
  expect(await list({ state: { state: PodSandboxState.SANDBOX_NOTREADY } })).toEqual([]);
  expect(await list({ labelSelector: { app: 'list-a', other: 'x' } })).toEqual([]);
  const request = {
    filter: {
      id: containerId.slice(0, 9),
      state: { state: ContainerState.CONTAINER_CREATED },
      podSandboxId: first,
      labelSelector: { container: 'app' },
    },
  };
  const { containers } = await rig.runtime.call('listContainers', request);
  expect(containers).toMatchObject([{ id: containerId, podSandboxId: first }]);
  const streamed = await collected(rig.runtime.client.streamContainers(request));
  expect(streamed.flatMap((each) => each.containers)).toEqual(containers);
  for (const podSandboxId of ids) await rig.runtime.call('removePodSandbox', { podSandboxId });
});

test('what contradicts itself is refused, and nothing is left of it', async () => {
  const sandboxId = await rig.runSandbox('refusals');
  const refused = (changes: Parameters<CriRig['createContainer']>[2]) =>
    expect(rig.createContainer(sandboxId, 'bad', changes)).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
    });
  await refused({ linux: { securityContext: { runAsGroup: { value: 5n } } } });
  await refused({ linux: { securityContext: { privileged: true } } });
  await refused({ mounts: [{ containerPath: '/x', hostPath: '/tmp', recursiveReadOnly: true }] });
  await refused({ envs: [{ key: 'A', value: Buffer.from([0xff]) }] });
  await expect(
    rig.createContainer(sandboxId, 'bad', { image: { image: 'localhost/nowhere:1' } }),
  ).rejects.toMatchObject({ code: status.NOT_FOUND });
  expect(await rig.createContainer(sandboxId, 'bad')).toMatch(/^[0-9a-f]{16}$/);
  await rig.runtime.call('removePodSandbox', { podSandboxId: sandboxId });
});

test('the image calls agree on the id, and removing removes all names', async () => {
  const reference = await rig.publish('other', { User: '1002:3', Cmd: ['true'] });
  const id = await rig.pull(reference);
  const spec = { annotations: {}, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' };
  const statusOf = async (image: string) =>
    (await rig.images.call('imageStatus', { image: { ...spec, image }, verbose: false })).image;
  const byId = await statusOf(id);
  expect(byId).toMatchObject({ id, repoTags: [reference], uid: { value: 1002n }, username: '' });
  expect(await statusOf(reference)).toEqual(byId);
  expect(await statusOf(byId?.repoDigests[0] ?? '')).toEqual(byId);
  const { images } = await rig.images.call('listImages', { filter: undefined });
  expect(images).toContainEqual(byId);
  const removals = [1, 2, 3, 4, 5].map(() =>
    rig.images.call('removeImage', { image: { ...spec, image: id } }),
  );
  await Promise.all(removals);
  expect(await statusOf(reference)).toBeUndefined();
  expect(await statusOf(`sha256:${'0'.repeat(64)}`)).toBeUndefined();
});

test('unsupported calls say why', async () => {
  const sandboxId = await rig.runSandbox('checkpoint');
  const containerId = await rig.createContainer(sandboxId, 'app');
  await expect(
    rig.runtime.call('checkpointContainer', { containerId, location: '/tmp/x', timeout: 0n }),
  ).rejects.toMatchObject({ code: status.UNIMPLEMENTED, details: expect.stringContaining('criu') });
  await rig.runtime.call('removePodSandbox', { podSandboxId: sandboxId });
});

describe('the socket', () => {
  test('belongs to its owner only, and is not taken from a living server', async () => {
    const { mode } = lstatSync(rig.socketPath);
    expect(mode & 0o777).toBe(0o600);
    await expect(rig.serve()).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    expect(await rig.runtime.call('version', { version: '0.1.0' })).toMatchObject({
      version: '0.1.0',
      runtimeName: 'cais',
      runtimeApiVersion: 'v1',
    });
  });

  test('takes the place of a dead server, opens itself to a group, and spares a file', async () => {
    const path = join(rig.directory, 's.sock');
    const dead = createServer();
    await new Promise<void>((resolve) => dead.listen(`${path}.dead`, resolve));
    const { renameSync } = await import('node:fs');
    renameSync(`${path}.dead`, path);
    dead.close();
    const servers: ReturnType<typeof createServer>[] = [];
    const bind = (at: string) => {
      const server = createServer();
      servers.push(server);
      return new Promise<void>((resolve) => server.listen(at, resolve));
    };
    const socket = await SocketFile.open(path, { group: 'daemon', bind });
    expect(lstatSync(path)).toMatchObject({ gid: 1 });
    expect(lstatSync(path).mode & 0o777).toBe(0o660);
    await socket.close();
    expect(lstatSync(path, { throwIfNoEntry: false })).toBeUndefined();
    writeFileSync(path, 'precious');
    await expect(SocketFile.open(path, { bind })).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
    });
    for (const server of servers) server.close();
  });
});
