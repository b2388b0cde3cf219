import { setTimeout as delay } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  CgroupDriver,
  ContainerState,
  type ContainerStatus,
  PodSandboxState,
  type PodSandboxStatus,
} from '../../src/cri/generated/api.js';
import { CriRig } from './cri-rig.js';

/** What may pass beside the grace: killing and cleaning up, on a busy machine. */
const SLACK_MS = 10_000;
const TIMES = 100;

let rig: CriRig;
beforeAll(async () => {
  rig = await CriRig.open();
});
afterAll(() => rig.close());

const NO_SPEC = { annotations: {}, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' };

const version = () => rig.runtime.call('version', { version: '' });
const listSandboxes = (state?: PodSandboxState) =>
  rig.runtime.call('listPodSandbox', {
    filter: state === undefined ? undefined : { id: '', state: { state }, labelSelector: {} },
  });
const listContainers = (state?: ContainerState) =>
  rig.runtime.call('listContainers', {
    filter:
      state === undefined
        ? undefined
        : { id: '', state: { state }, podSandboxId: '', labelSelector: {} },
  });
const imageFsInfo = () => rig.images.call('imageFsInfo', {});

/** Fields of PodSandboxStatus without which a pod stays Pending. */
async function sandboxStatus(podSandboxId: string): Promise<PodSandboxStatus> {
  const answer = await rig.runtime.call('podSandboxStatus', { podSandboxId, verbose: false });
  const found = answer.status;
  expect(found?.metadata?.name).toBeTruthy();
  expect(found?.createdAt).toBeGreaterThan(0n);
  return found as PodSandboxStatus;
}

/** Fields of ContainerStatus without which a pod stays Pending. */
async function containerStatus(containerId: string): Promise<ContainerStatus> {
  const answer = await rig.runtime.call('containerStatus', { containerId, verbose: false });
  const found = answer.status;
  expect(found?.id).toBe(containerId);
  expect(found?.metadata?.name).toBeTruthy();
  expect(found?.createdAt).toBeGreaterThan(0n);
  expect(found?.startedAt).toBeGreaterThan(0n);
  expect(found?.image?.image).toBeTruthy();
  expect(found?.imageRef).toBeTruthy();
  return found as ContainerStatus;
}

test('the start of a kubelet finds every field that it needs', async () => {
  const check = async (sent: string) => {
    const answer = await rig.runtime.call('version', { version: sent });
    expect(answer).toEqual({
      version: '0.1.0',
      runtimeName: 'cais',
      runtimeVersion: expect.stringMatching(/^\d+\.\d+\.\d+/),
      runtimeApiVersion: 'v1',
    });
  };
  const checkFsInfo = async () => {
    const { imageFilesystems, containerFilesystems } = await imageFsInfo();
    for (const usage of [...imageFilesystems, ...containerFilesystems]) {
      expect(usage.timestamp).toBeGreaterThan(0n);
      expect(usage.fsId?.mountpoint).toMatch(/^\//);
      expect(usage.usedBytes).toBeDefined();
      expect(usage.inodesUsed).toBeDefined();
    }
    expect([imageFilesystems.length, containerFilesystems.length]).toEqual([1, 1]);
  };
  await check('');
  await checkFsInfo();
  for (let times = 0; times < 3; times++) {
    const { linux } = await rig.runtime.call('runtimeConfig', {});
    expect(linux?.cgroupDriver).toBe(CgroupDriver.CGROUPFS);
  }
  await check('0.1.0');
  const node = await rig.runtime.call('status', { verbose: false });
  expect(node.status?.conditions).toMatchObject([
    { type: 'RuntimeReady', status: true },
    { type: 'NetworkReady', status: true },
  ]);
  expect(node.runtimeHandlers.map(({ name }) => name)).toContain('');
  expect(node.features).toMatchObject({ supplementalGroupsPolicy: true });
  expect((await listContainers()).containers).toEqual([]);
  expect((await listSandboxes()).items).toEqual([]);
  await rig.images.call('listImages', { filter: undefined });
  await rig.images.call('listImages', { filter: undefined });
  await check('');
  await listSandboxes();
  await listContainers();
  await checkFsInfo();
});

test('a pod goes through its life as a kubelet leads it', async () => {
  const podSandboxId = await rig.runSandbox('pod');
  const sandbox = await sandboxStatus(podSandboxId);
  expect(sandbox).toMatchObject({
    id: podSandboxId,
    metadata: { name: 'pod', uid: 'uid-pod', namespace: 'default', attempt: 0 },
    state: PodSandboxState.SANDBOX_READY,
    labels: { app: 'pod' },
    annotations: { note: 'kept' },
  });
  expect(sandbox.network?.ip).toMatch(/^\d+\.\d+\.\d+\.\d+$/);

  const spec = { ...NO_SPEC, image: rig.image };
  const annotated = { ...spec, annotations: { 'kubernetes.io/config.source': 'file' } };
  for (const image of [annotated, spec]) {
    expect((await rig.images.call('imageStatus', { image, verbose: false })).image).toBeUndefined();
  }
  const imageRef = await rig.pull();
  const { image } = await rig.images.call('imageStatus', { image: spec, verbose: false });
  expect(image?.id).toBe(imageRef);
  expect(image?.size).toBeGreaterThan(0n);

  const containerId = await rig.createContainer(podSandboxId, 'app', {
    image: { image: imageRef, userSpecifiedImage: rig.image },
    mounts: [{ containerPath: '/data', hostPath: rig.directory, readonly: true }],
    linux: {
      resources: {
        cpuPeriod: 100_000n,
        cpuQuota: 50_000n,
        cpuShares: 512n,
        memoryLimitInBytes: 67_108_864n,
        oomScoreAdj: 999n,
        hugepageLimits: [{ pageSize: '2MB', limit: 0n }],
      },
      securityContext: { runAsUser: { value: 1000n }, supplementalGroups: [2000n], seccomp: {} },
    },
  });
  await rig.runtime.call('startContainer', { containerId });
  const running = await containerStatus(containerId);
  expect(running).toMatchObject({
    state: ContainerState.CONTAINER_RUNNING,
    image: { image: rig.image, userSpecifiedImage: rig.image },
    imageId: imageRef,
    labels: { container: 'app' },
    annotations: { 'io.kubernetes.container.hash': 'abc' },
    mounts: [{ containerPath: '/data', hostPath: rig.directory, readonly: true }],
    logPath: `${rig.logDirectory}/pod/app/0.log`,
    resources: { linux: { cpuShares: 512n, memoryLimitInBytes: 67_108_864n } },
    user: { linux: { uid: 1000n, gid: 1000n, supplementalGroups: [10n, 1000n, 2000n] } },
    finishedAt: 0n,
  });
  const executed = await rig.runtime.call('execSync', {
    containerId,
    cmd: ['echo', 'hello'],
    timeout: 5n,
  });
  expect(executed).toMatchObject({ exitCode: 0, stdout: Buffer.from('hello\n') });

  const { items } = await listSandboxes(PodSandboxState.SANDBOX_READY);
  expect(items).toMatchObject([{ id: podSandboxId, metadata: { name: 'pod' } }]);
  const { containers } = await listContainers(ContainerState.CONTAINER_RUNNING);
  expect(containers).toMatchObject([
    {
      id: containerId,
      podSandboxId,
      metadata: { name: 'app' },
      labels: { container: 'app' },
      imageId: imageRef,
      imageRef,
    },
  ]);
  const { stats } = await rig.runtime.call('listContainerStats', { filter: undefined });
  expect(stats).toMatchObject([{ attributes: { id: containerId, metadata: { name: 'app' } } }]);
  expect(stats[0]?.cpu?.timestamp).toBeGreaterThan(0n);
  expect(stats[0]?.memory?.timestamp).toBeGreaterThan(0n);
  await version();
  await rig.runtime.call('updateContainerResources', {
    containerId,
    linux: undefined,
    windows: undefined,
    annotations: {},
  });
  await rig.runtime.call('updatePodSandboxResources', {
    podSandboxId,
    overhead: undefined,
    resources: undefined,
  });

  await rig.runtime.call('stopContainer', { containerId, timeout: 30n });
  expect(await containerStatus(containerId)).toMatchObject({
    state: ContainerState.CONTAINER_EXITED,
    exitCode: 0,
    reason: 'Completed',
    finishedAt: expect.any(BigInt),
  });
  for (let times = 0; times < 2; times++) {
    await rig.runtime.call('stopPodSandbox', { podSandboxId });
    expect(await sandboxStatus(podSandboxId)).toMatchObject({
      state: PodSandboxState.SANDBOX_NOTREADY,
    });
  }
  await rig.runtime.call('removeContainer', { containerId });
  await rig.runtime.call('removePodSandbox', { podSandboxId });
  expect((await listSandboxes()).items).toEqual([]);
});

test('unknown ids are NotFound where something is asked, and success where something is ended', async () => {
  const podSandboxId = 'c0ffee0000000000';
  const containerId = 'c0ffee0000000001';
  const ended = [
    () => rig.runtime.call('stopPodSandbox', { podSandboxId }),
    () => rig.runtime.call('removePodSandbox', { podSandboxId }),
    () => rig.runtime.call('stopContainer', { containerId, timeout: 1n }),
    () => rig.runtime.call('removeContainer', { containerId }),
    () =>
      rig.images.call('removeImage', { image: { ...NO_SPEC, image: `sha256:${'0'.repeat(64)}` } }),
  ];
  for (const end of ended) for (let times = 0; times < 2; times++) await end();
  const asked = [
    () => rig.runtime.call('podSandboxStatus', { podSandboxId, verbose: false }),
    () => rig.runtime.call('containerStatus', { containerId, verbose: false }),
    () => rig.runtime.call('startContainer', { containerId }),
    () => rig.runtime.call('execSync', { containerId, cmd: ['true'], timeout: 0n }),
    () => rig.runtime.call('containerStats', { containerId }),
    () => rig.runtime.call('reopenContainerLog', { containerId }),
    () => rig.runtime.call('podSandboxStats', { podSandboxId }),
    () => rig.createContainer(podSandboxId, 'app'),
  ];
  for (const ask of asked) await expect(ask()).rejects.toMatchObject({ code: status.NOT_FOUND });
  // The probe of a kubelet that asks whether the call is there.
  await expect(rig.runtime.call('podSandboxStats', { podSandboxId: '' })).rejects.toMatchObject({
    code: status.INVALID_ARGUMENT,
  });
});

describe(`${TIMES} times`, () => {
  test('a stop one millisecond after RunPodSandbox', { timeout: 600_000 }, async () => {
    for (let attempt = 0; attempt < TIMES; attempt++) {
      const podSandboxId = await rig.runSandbox('hasty', {
        metadata: { name: 'hasty', uid: 'uid-hasty', namespace: 'default', attempt },
      });
      await delay(1);
      const startedAtMs = performance.now();
      await rig.runtime.call('stopPodSandbox', { podSandboxId });
      expect(performance.now() - startedAtMs).toBeLessThan(SLACK_MS);
      expect((await sandboxStatus(podSandboxId)).state).toBe(PodSandboxState.SANDBOX_NOTREADY);
      await rig.runtime.call('removePodSandbox', { podSandboxId });
    }
    expect((await listSandboxes()).items).toEqual([]);
  });

  test('the removal of a running container', { timeout: 600_000 }, async () => {
    await rig.pull();
    const podSandboxId = await rig.runSandbox('stubborn');
    for (let attempt = 0; attempt < TIMES; attempt++) {
      const containerId = await rig.createContainer(podSandboxId, 'app', {
        metadata: { name: 'app', attempt },
        command: ['sh', '-c', 'trap "" TERM; while :; do sleep 1000; done'],
      });
      await rig.runtime.call('startContainer', { containerId });
      const startedAtMs = performance.now();
      await rig.runtime.call('removeContainer', { containerId });
      expect(performance.now() - startedAtMs).toBeLessThan(SLACK_MS);
    }
    expect((await listContainers()).containers).toEqual([]);
    await rig.runtime.call('removePodSandbox', { podSandboxId });
  });
});
