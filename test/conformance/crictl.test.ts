import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openTestBed, type TestBed } from './bed.mjs';
import { Crictl } from './crictl.js';
import { prepareGoTools } from './go-tools.mjs';
import { testedRuntime } from './tested-runtime.js';

const SHELL_IMAGE = 'registry.k8s.io/e2e-test-images/busybox:1.29-2';
const SERVER_IMAGE = 'registry.k8s.io/e2e-test-images/nginx:1.14-2';
/** For what a program prints by itself, on two busy cores. */
const PRINT_TIMEOUT_MS = 30_000;

/** What Debian's containerd, with which this test is tested, has not got yet. */
const OLD_PEER = testedRuntime() === 'containerd' && 'containerd 1.6 does not have it';

const tools = await prepareGoTools(console.log);
if ('reason' in tools) {
  test('the story of crictl', ({ skip }) => skip(tools.reason));
} else {
  // One story: each test goes on from where the one before it stopped.
  describe('the story of crictl', () => {
    let bed: TestBed;
    let crictl: Crictl;
    let podConfig: string;
    let pod: string;
    const ids = { server: '', shell: '', counter: '' };

    beforeAll(async () => {
      bed = await openTestBed({ kind: testedRuntime(), tools });
      crictl = new Crictl(bed);
      podConfig = crictl.config('pod', {
        metadata: { name: 'story', uid: 'uid-of-story', namespace: 'tales', attempt: 1 },
        hostname: 'story',
        log_directory: crictl.path('logs'),
        labels: { app: 'story' },
        annotations: { 'example.com/note': 'kept' },
        linux: {},
      });
    });
    afterAll(async () => await bed?.close());

    /** Creates a container of the story's pod from these words and starts it. */
    const create = async (name: string, image: string, rest: object) => {
      const config = crictl.config(name, {
        metadata: { name },
        image: { image },
        log_path: `${name}.log`,
        labels: { part: name },
        linux: {},
        ...rest,
      });
      return await crictl.run('create', pod, config, podConfig);
    };

    test('info says that the runtime and its network are ready', async () => {
      const info = JSON.parse(await crictl.run('info'));
      const conditions = info.status.conditions as { type: string; status: boolean }[];
      expect(conditions.filter(({ status }) => status).map(({ type }) => type)).toEqual(
        expect.arrayContaining(['RuntimeReady', 'NetworkReady']),
      );
      expect(await crictl.run('version')).toContain('RuntimeApiVersion:  v1');
    });

    test('runtime-config names the cgroup driver', async ({ skip }) => {
      if (OLD_PEER) skip(OLD_PEER);
      expect(await crictl.run('runtime-config')).toMatch(/cgroup ?driver.*(CGROUPFS|SYSTEMD)/i);
    });

    test('pull gets images under their own names', async () => {
      for (const image of [SHELL_IMAGE, SERVER_IMAGE]) {
        const [, id = ''] = /up to date for (\S+)/.exec(await crictl.run('pull', image)) ?? [];
        const { status } = await crictl.json('inspecti', image);
        expect(status?.['repoTags']).toEqual([image]);
        expect(status?.['id']).toContain(id);
      }
      const { images } = await crictl.json('images');
      expect(images).toHaveLength(2);
      const text = await crictl.run('imagefsinfo');
      expect(text).toContain('imageFilesystems');
    });

    test('runp starts a pod with an address', async () => {
      pod = await crictl.run('runp', podConfig);
      const { status } = await crictl.json('inspectp', pod);
      expect(status).toMatchObject({
        id: pod,
        state: 'SANDBOX_READY',
        metadata: { name: 'story', namespace: 'tales', uid: 'uid-of-story', attempt: 1 },
        labels: { app: 'story' },
        annotations: { 'example.com/note': 'kept' },
        network: { ip: expect.stringMatching(/^\d+\.\d+\.\d+\.\d+$/) },
      });
      expect(await crictl.run('pods', '--quiet', '--label', 'app=story')).toBe(pod);
    });

    test('create and start make containers, which ps shows', async () => {
      ids.server = await create('server', SERVER_IMAGE, {});
      ids.shell = await create('shell', SHELL_IMAGE, { command: ['sh'], stdin: true, tty: false });
      ids.counter = await create('counter', SHELL_IMAGE, {
        command: [
          'sh',
          '-c',
          'trap "" TERM; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.1; done',
        ],
      });
      expect((await crictl.json('inspect', ids.shell))['status']).toMatchObject({
        state: 'CONTAINER_CREATED',
      });
      await crictl.run('start', ...Object.values(ids));
      const running = await crictl.run('ps', '--quiet', '--state', 'running', '--pod', pod);
      expect(running.split('\n').sort()).toEqual(Object.values(ids).sort());
    });

    test('exec runs a program, and its exit code comes back', async () => {
      expect(await crictl.run('exec', '--sync', ids.shell, 'echo', 'hello')).toBe('hello');
      expect(await crictl.run('exec', ids.shell, 'hostname')).toBe('story');
      const failed = await crictl.attempt('exec', ids.shell, 'sh', '-c', 'echo bad >&2; exit 7');
      expect(failed.exitCode).not.toBe(0);
      expect(failed.stderr).toMatch(/bad[\s\S]*\b7\b/);
      expect((await crictl.attempt('exec', ids.shell, 'no-such-program')).exitCode).not.toBe(0);
    });

    test.for(['spdy', 'websocket'])(
      'exec -it has a terminal, over %s',
      async (transport, { skip }) => {
        if (OLD_PEER && transport === 'websocket') skip(OLD_PEER);
        const session = crictl.startAtTerminal(
          ['exec', '--transport', transport, '-it', ids.shell, 'sh'],
          { rows: 41, columns: 117 },
        );
        await session.until(/# /, PRINT_TIMEOUT_MS);
        session.write('stty size\n');
        await session.until(/^41 117\r?$/m, PRINT_TIMEOUT_MS);
        session.write('tty; echo $((6 * 7))\n');
        await session.until(/^\/dev\/pts\/\d+\r?$/m, PRINT_TIMEOUT_MS);
        await session.until(/^42\r?$/m, PRINT_TIMEOUT_MS);
        session.write('exit\n');
        expect(await session.exited).toBe(0);
      },
    );

    test('attach talks to the first process of the container, again and again', async () => {
      for (const word of ['first', 'second']) {
        const session = crictl.start('attach', '-i', ids.shell);
        try {
          session.write(`echo the ${word} answer\n`);
          await session.until(new RegExp(`the ${word} answer`), PRINT_TIMEOUT_MS);
        } finally {
          session.kill('SIGKILL');
          await session.exited;
        }
      }
      expect(await crictl.run('ps', '--quiet', '--state', 'running', '--id', ids.shell)).toBe(
        ids.shell,
      );
    });

    test('logs shows what was written, and -f what comes', async () => {
      expect(await crictl.run('logs', '--tail', '2', ids.counter)).toMatch(/^line \d+\nline \d+$/);
      const [, last = '0'] = /(\d+)$/.exec(await crictl.run('logs', ids.counter)) ?? [];
      const follower = crictl.start('logs', '-f', '--tail', '1', ids.counter);
      try {
        await follower.until(new RegExp(`^line ${Number(last) + 10}$`, 'm'), PRINT_TIMEOUT_MS);
        // The kubelet's rotation: the file gets another name, the runtime makes a new one.
        const { status } = await crictl.json('inspect', ids.counter);
        const path = String(status?.['logPath']);
        await bed.stage.run(['mv', path, `${path}.old`]);
        await crictl.run('logs', '--reopen', ids.counter);
        await follower.until(new RegExp(`^line ${Number(last) + 40}$`, 'm'), PRINT_TIMEOUT_MS);
      } finally {
        follower.kill('SIGTERM');
        await follower.exited;
      }
    });

    test('port-forward reaches the pod; a port where nobody listens hurts no other', async () => {
      // Two clients, since this one gives its whole connection up when one port fails.
      const forwards = ['18080:80', '18081:81'].map((ports) =>
        crictl.start('port-forward', pod, ports),
      );
      try {
        for (const forward of forwards) await forward.until(/Forwarding from/, PRINT_TIMEOUT_MS);
        const pages = Array.from({ length: 5 }, () => get('http://127.0.0.1:18080/'));
        expect(await get('http://127.0.0.1:18081/')).toBe('failed');
        expect(new Set(await Promise.all(pages))).toEqual(new Set(['200']));
        expect(await get('http://127.0.0.1:18080/')).toBe('200');
      } finally {
        for (const forward of forwards) await forward.stop();
      }
    });

    /** The status of an answer, asked for inside of the stage. */
    const get = async (url: string) => {
      const script = `
        const say = (text) => { console.log(text); process.exit(); };
        setTimeout(() => say('failed'), 10000);
        fetch(process.argv[1]).then((answer) => say(answer.status), () => say('failed'));`;
      const { stdout } = await bed.stage.run([process.execPath, '-e', script, url]);
      return stdout.trim();
    };

    test('stats, statsp and metricsp measure what runs', async () => {
      const { stats } = await crictl.json('stats', '--id', ids.server);
      expect(stats).toMatchObject([
        {
          attributes: { id: ids.server, metadata: { name: 'server' }, labels: { part: 'server' } },
          memory: { workingSetBytes: { value: expect.stringMatching(/^[1-9]\d+$/) } },
          cpu: { usageCoreNanoSeconds: { value: expect.stringMatching(/^[1-9]\d+$/) } },
        },
      ]);
      if (OLD_PEER) return;
      const { stats: pods } = await crictl.json('statsp', '--id', pod);
      expect(pods).toMatchObject([
        {
          attributes: { id: pod },
          linux: {
            memory: { workingSetBytes: { value: expect.stringMatching(/^[1-9]\d+$/) } },
            process: { processCount: { value: expect.stringMatching(/^[1-9]\d*$/) } },
          },
        },
      ]);
      const { podMetrics } = await crictl.json('metricsp');
      const mine = podMetrics?.find(({ podSandboxId }) => String(podSandboxId) === pod);
      expect(mine?.['containerMetrics']).toHaveLength(3);
    });

    test('update changes limits at once', async () => {
      await crictl.run(
        'update',
        ...['--memory', String(96 * 2 ** 20), '--cpu-period', '100000', '--cpu-quota', '50000'],
        ids.counter,
      );
      const { status } = await crictl.json('inspect', ids.counter);
      expect(status?.['resources']).toMatchObject({
        linux: { memoryLimitInBytes: String(96 * 2 ** 20), cpuQuota: '50000', cpuPeriod: '100000' },
      });
    });

    test('events tells of a life from its beginning to its end', async ({ skip }) => {
      if (OLD_PEER) skip(OLD_PEER);
      const events = crictl.start('events', '--output', 'json');
      try {
        const id = await create('short', SHELL_IMAGE, { command: ['sh', '-c', 'exit 3'] });
        // Whoever comes late hears nothing of the past: the first one shows that the stream is there.
        await events.until(new RegExp(`${id}[\\s\\S]*CONTAINER_CREATED_EVENT`), PRINT_TIMEOUT_MS);
        await crictl.run('start', id);
        for (const type of ['CONTAINER_STARTED_EVENT', 'CONTAINER_STOPPED_EVENT']) {
          await events.until(new RegExp(type), PRINT_TIMEOUT_MS);
        }
        expect((await crictl.json('inspect', id))['status']).toMatchObject({
          state: 'CONTAINER_EXITED',
          exitCode: 3,
          reason: 'Error',
        });
        await crictl.run('rm', id);
        await events.until(/CONTAINER_DELETED_EVENT/, PRINT_TIMEOUT_MS);
      } finally {
        events.kill('SIGTERM');
        await events.exited;
      }
    });

    test('stop ends a container within its time', async () => {
      await crictl.run('stop', '--timeout', '1', ids.counter);
      const { status } = await crictl.json('inspect', ids.counter);
      expect(status).toMatchObject({ state: 'CONTAINER_EXITED', exitCode: 137 });
      await crictl.run('rm', ids.counter);
      await crictl.run('rm', '--force', ids.shell);
      expect(await crictl.run('ps', '--all', '--quiet')).toBe(ids.server);
    });

    test('stopp and rmp take the pod away, twice without an error', async () => {
      await crictl.run('stopp', pod);
      await crictl.run('stopp', pod);
      expect((await crictl.json('inspectp', pod))['status']).toMatchObject({
        state: 'SANDBOX_NOTREADY',
      });
      await crictl.run('rmp', pod);
      expect(await crictl.run('pods', '--quiet')).toBe('');
      expect(await crictl.run('ps', '--all', '--quiet')).toBe('');
    });

    test('rmi --prune removes what no container uses', async () => {
      await crictl.run('rmi', '--prune');
      expect(await crictl.run('images', '--quiet')).toBe('');
    });
  });
}
