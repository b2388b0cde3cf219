import { EventEmitter, once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { PodManifest } from '../../src/objects/pod-schema.js';
import { PodService, type RunPodOptions } from '../../src/pod/pod-service.js';
import { ImageUnavailableError } from '../../src/pod/pull-policy.js';
import { RecordStore } from '../../src/record-store.js';
import { type FakeBehaviour, FakePodServices } from '../fakes/pod-services.js';

type Spec = PodManifest['spec'];

function manifest(names: readonly string[], spec: Partial<Spec> = {}): PodManifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web' },
    spec: { containers: names.map((name) => ({ name, image: 'busybox' })), ...spec },
  };
}

describe('PodService', () => {
  let directory: string;
  let records: RecordStore;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'cais-pods-'));
    records = RecordStore.open(join(directory, 'meta'));
  });
  afterEach(async () => {
    await records.close();
    rmSync(directory, { recursive: true });
  });

  function open(behaviours: Readonly<Record<string, FakeBehaviour>>) {
    const services = new FakePodServices(behaviours);
    const pods = new PodService({
      records,
      services,
      facts: { hostIps: ['192.0.2.1'], nodeName: 'node', nodeCpus: 2, nodeMemoryBytes: 2 ** 30 },
      directories: { logs: join(directory, 'logs'), pods: join(directory, 'pods') },
    });
    return { services, pods };
  }

  async function runToEnd(
    pod: PodManifest,
    behaviours: Readonly<Record<string, FakeBehaviour>>,
    options: RunPodOptions = {},
  ) {
    const { services, pods } = open(behaviours);
    const handle = await pods.run(pod, options);
    const result = await handle.wait();
    const lines: string[] = [];
    for await (const { container, text } of handle.logs()) lines.push(`${container}: ${text}`);
    await handle.remove();
    return { services, pods, result, lines };
  }

  test('run() starts init containers in order, then all others, and yields 0 when none fails', async () => {
    const { services, result, lines } = await runToEnd(
      manifest(['a', 'b'], {
        initContainers: [
          { name: 'one', image: 'busybox' },
          { name: 'two', image: 'busybox' },
        ],
      }),
      {
        one: { exitCodes: [0], output: ['1'] },
        two: { exitCodes: [0], output: ['2'] },
        a: { exitCodes: [0], output: ['hello'] },
        b: { exitCodes: [0] },
      },
    );
    expect(services.journal.slice(0, 6)).toEqual([
      'pull busybox',
      'sandbox',
      'start one',
      'exit one 0',
      'start two',
      'exit two 0',
    ]);
    expect(result).toMatchObject({ phase: 'Succeeded', exitCode: 0 });
    expect(lines).toEqual(['one: 1', 'two: 2', 'a: hello']);
  });

  test('remove() leaves nothing behind', async () => {
    const { services, pods } = await runToEnd(
      manifest(['a'], { volumes: [{ name: 'v', emptyDir: {} }] }),
      { a: { exitCodes: [0] } },
    );
    expect(services.left).toEqual([]);
    expect(pods.list()).toEqual([]);
    for (const kind of ['logs', 'pods']) {
      const path = join(directory, kind);
      expect(existsSync(path) ? readdirSync(path) : []).toEqual([]);
    }
  });

  test.each(['createAfter', 'startAfter'] as const)(
    'a pod that is stopped while one container has ended and another waits (%s) has not ended yet',
    async (what) => {
      let release: () => void = () => undefined;
      const held = new Promise<void>((resolve) => {
        release = resolve;
      });
      const { pods } = open({ a: { stopCode: 3 }, b: { [what]: held, stopCode: 0 } });
      const events = new EventEmitter();
      const [started, exited] = ['a Started', 'a Exited'].map((name) => once(events, name));
      await using handle = await pods.run(manifest(['a', 'b']), {
        onEvent: ({ container, reason }) => events.emit(`${container} ${reason}`),
      });
      await started;
      await handle.stop();
      await exited;
      const [meanwhile] = pods.list();
      release();
      expect(meanwhile?.phase).toBe('Pending');
      expect(await handle.wait()).toMatchObject({ phase: 'Failed', exitCode: 3 });
      expect(pods.list()).toMatchObject([{ phase: 'Failed' }]);
    },
  );

  test('a pod whose init container cannot be made has ended', async () => {
    const { pods } = open({ one: { failCreate: new Error('no room') } });
    await using handle = await pods.run(
      manifest(['a'], { initContainers: [{ name: 'one', image: 'busybox' }] }),
    );
    await expect(handle.wait()).rejects.toThrow('no room');
    expect(pods.list()).toMatchObject([{ phase: 'Failed' }]);
  });

  test('an ended pod yields the exit code of the container that failed first', async () => {
    const { pods } = open({ a: { exitCodes: [0] }, b: { exitCodes: [3] }, c: { stopCode: 5 } });
    const events = new EventEmitter();
    const ended = ['a', 'b'].map((name) => once(events, `${name} Exited`));
    await using handle = await pods.run(manifest(['a', 'b', 'c']), {
      onEvent: ({ container, reason }) => events.emit(`${container} ${reason}`),
    });
    await Promise.all([handle.started(), ...ended]);
    await handle.stop();
    expect(await handle.wait()).toMatchObject({ phase: 'Failed', exitCode: 3 });
  });

  test("a container's last words are in its status, and gone with the pod", async () => {
    const { result } = await runToEnd(manifest(['a']), {
      a: { exitCodes: [3], lastWords: 'out of luck' },
    });
    expect(result.containers[0]?.state).toMatchObject({ exitCode: 3, message: 'out of luck' });
  });

  test('a pod that cannot be removed does not keep collect() from the others', async () => {
    const { pods } = open({});
    const dead = { pid: 2 ** 22 - 1, startTicks: '1' };
    const collection = records.collection<object>('pods');
    await pods.run(manifest(['a']));
    const [found] = collection.list();
    if (found === undefined) throw new Error('no record');
    for (const uid of ['one', 'two']) {
      await collection.put(uid, { ...found.value, uid, directory: `/nowhere/${uid}`, owner: dead });
    }
    const { pods: next, services } = open({});
    services.removeTree = async (path) => {
      if (path === '/nowhere/one') throw new Error('stuck');
    };
    expect(await next.collect()).toEqual([{ id: 'pod web', error: new Error('stuck') }]);
    expect(next.list().map(({ uid }) => uid)).not.toContain('two');
    await pods.close();
  });

  test('a failing init container ends the pod under Never', async () => {
    const { services, result } = await runToEnd(
      manifest(['a'], { initContainers: [{ name: 'i', image: 'busybox' }] }),
      { i: { exitCodes: [4] }, a: { exitCodes: [0] } },
    );
    expect(services.journal).not.toContain('start a');
    expect(result).toMatchObject({ phase: 'Failed', exitCode: 4 });
  });

  test('OnFailure starts a failed container again, at once the first time', async () => {
    const { result } = await runToEnd(manifest(['a', 'b'], { restartPolicy: 'OnFailure' }), {
      a: { exitCodes: [3, 0] },
      b: { exitCodes: [0] },
    });
    expect(result).toMatchObject({ phase: 'Succeeded', exitCode: 0 });
    expect(result.containers.map(({ restartCount }) => restartCount)).toEqual([1, 0]);
  });

  test('Always goes on until stop(), which ends a back-off too', async () => {
    const { services, pods } = open({ a: { exitCodes: [0] } });
    const events = new EventEmitter();
    const backOff = once(events, 'BackOff');
    await using handle = await pods.run(manifest(['a'], { restartPolicy: 'Always' }), {
      onEvent: ({ reason }) => events.emit(reason),
    });
    await backOff;
    expect(pods.get('web')).toMatchObject({
      phase: 'Running',
      containers: [{ restartCount: 1, state: { reason: 'CrashLoopBackOff' } }],
    });
    await handle.stop();
    await handle.wait();
    expect(services.journal.filter((entry) => entry === 'start a')).toHaveLength(2);
  });

  test('stop() gives each container the grace period of the pod, a second stop() shortens it', async () => {
    const { services, pods } = open({ a: {} });
    await using handle = await pods.run(manifest(['a'], { terminationGracePeriodSeconds: 7 }));
    await handle.started();
    await handle.stop();
    expect(await handle.wait()).toMatchObject({ phase: 'Failed', exitCode: 143 });
    expect(services.journal).toContain('stop a 7000');
  });

  test('an aborted signal stops the running pod', async () => {
    const { pods } = open({ a: { stopCode: 0 } });
    const controller = new AbortController();
    await using handle = await pods.run(manifest(['a']), { signal: controller.signal });
    await handle.started();
    controller.abort();
    expect(await handle.wait()).toMatchObject({ phase: 'Succeeded', exitCode: 0 });
  });

  test('a container that cannot be started fails the run and stops the others', async () => {
    const { services, pods } = open({ a: {}, b: { failStart: new Error('no such file') } });
    await using handle = await pods.run(manifest(['a', 'b']));
    await expect(handle.wait()).rejects.toThrow('no such file');
    await handle.remove();
    expect(services.left).toEqual([]);
  });

  test.each([
    ['a missing image', { containers: [{ name: 'a', image: 'nope' }] }, 'ErrImagePull'],
    [
      'an image that may not be pulled',
      { containers: [{ name: 'a', image: 'busybox', imagePullPolicy: 'Never' as const }] },
      'ErrImageNeverPull',
    ],
  ])('run() refuses %s and leaves nothing behind', async (_what, spec, reason) => {
    const { services, pods } = open({});
    const failure = await pods.run(manifest([], spec)).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ImageUnavailableError);
    expect((failure as ImageUnavailableError).reason).toBe(reason);
    expect(services.left).toEqual([]);
    expect(pods.list()).toEqual([]);
  });

  test('run() undoes everything when the sandbox fails', async () => {
    const { services, pods } = open({});
    services.failSandbox = new Error('no cgroup');
    const spec = { volumes: [{ name: 'v', emptyDir: {} }] };
    await expect(pods.run(manifest(['a'], spec))).rejects.toThrow('no cgroup');
    expect(pods.list()).toEqual([]);
    expect(readdirSync(join(directory, 'pods'))).toEqual([]);
  });

  test('run() refuses a name that is taken', async () => {
    const { pods } = open({ a: {} });
    await using _handle = await pods.run(manifest(['a']));
    await expect(pods.run(manifest(['a']))).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
  });

  test('activeDeadlineSeconds ends the pod as Failed', async () => {
    const { result } = await runToEnd(manifest(['a'], { activeDeadlineSeconds: 1 }), {
      a: { stopCode: 0 },
    });
    expect(result).toMatchObject({ phase: 'Failed', reason: 'DeadlineExceeded', exitCode: 124 });
  });

  test('stop() by name ends a pod that another worker runs, and nothing is started again', async () => {
    const { pods } = open({ a: {} });
    await using handle = await pods.run(manifest(['a'], { restartPolicy: 'Always' }));
    await pods.stop('web');
    expect(await handle.wait()).toMatchObject({ phase: 'Failed' });
    expect(pods.get('web')).toMatchObject({ phase: 'Failed' });
  });

  test('stop() by name removes what a foreground run left', async () => {
    const { pods, services } = open({ a: {} });
    await pods.run(manifest(['a']), { isRemovedAtEnd: true });
    await pods.stop('web');
    expect(pods.list()).toEqual([]);
    expect(services.left).toEqual([]);
  });

  test('remove() by name refuses a running pod unless forced', async () => {
    const { pods, services } = open({ a: {} });
    await pods.run(manifest(['a']));
    await expect(pods.remove('web')).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
    await pods.remove('web', { force: true });
    expect(services.left).toEqual([]);
    await expect(pods.remove('web')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('logs() by name follows a pod over restarts until it ends', async () => {
    const { pods } = open({ a: { exitCodes: [1, 0], output: ['line'] } });
    const handle = await pods.run(manifest(['a'], { restartPolicy: 'OnFailure' }));
    const lines: string[] = [];
    for await (const { text } of pods.logs('web', { follow: true })) lines.push(String(text));
    expect(lines).toEqual(['line', 'line']);
    await handle.remove();
  });

  test('logs() by name refuses an unknown container', async () => {
    const { pods } = open({ a: {} });
    await using _handle = await pods.run(manifest(['a']));
    const logs = pods.logs('web', { container: 'x' });
    await expect(logs.next()).rejects.toThrow('Pod "web" has no container "x": it has a');
  });
});
