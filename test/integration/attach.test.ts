import { readdirSync, readFileSync, renameSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RunningPod } from '../fixtures/running-pod.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: containers need root');

const PATIENCE = { timeout: 20_000 * Number(process.env['CAIS_TIME_FACTOR'] ?? 1) };

describe.skipIf(!isRoot)('clients of a running container', () => {
  let pod: RunningPod;

  beforeAll(async () => {
    pod = await RunningPod.open();
  });
  afterAll(() => pod.close());

  describe('attach()', () => {
    it('output from now on to every client, and an end with the container', async () => {
      const id = await pod.start(
        'echo before; while read x; do echo "got $x"; [ $x = end ] && break; done; echo err >&2',
        { stdin: true },
      );
      await expect.poll(() => readFileSync(pod.logPath(id), 'utf8'), PATIENCE).toContain('before');
      const first = pod.client();
      const second = pod.client();
      const sessions = [
        pod.containers.attach(id, first.streams()),
        pod.containers.attach(id, second.streams({ stdin: false })),
      ];
      // Until both hear the same: only then are both there.
      const heard = () => {
        first.stdin.write('it\n');
        return [first, second].every(({ output }) => output.stdout.includes('it\n'));
      };
      await expect.poll(heard, PATIENCE).toBe(true);
      first.stdin.write('end\n');
      await Promise.all(sessions);
      for (const client of [first, second]) {
        expect(client.output.stdout).toMatch(/^(got it\n)+got end\n$/);
        expect(client.output.stderr).toBe('err\n');
        expect(client.ended).toEqual({ stdout: true, stderr: true });
      }
    });

    it('with stdinOnce the end of the input is the end of the container’s', async () => {
      const id = await pod.start('cat; echo over', { stdin: true, stdinOnce: true });
      const client = pod.client();
      const session = pod.containers.attach(id, client.streams());
      client.stdin.end('all\n');
      await session;
      expect(client.output.stdout).toBe('all\nover\n');
      await expect(pod.containers.wait(id)).resolves.toMatchObject({ exitCode: 0 });
    });

    it('without stdinOnce the end of the input only detaches; the next client goes on', async () => {
      const id = await pod.start('cat', { stdin: true });
      const first = pod.client();
      const session = pod.containers.attach(id, first.streams());
      first.stdin.end('first\n');
      await session;
      const second = pod.client();
      const again = pod.containers.attach(id, second.streams());
      again.catch(() => undefined);
      second.stdin.write('second\n');
      await expect.poll(() => second.output.stdout, PATIENCE).toContain('second\n');
      const log = readFileSync(pod.logPath(id), 'utf8');
      expect(log).toMatch(/ F first\n.* F second\n/);
      second.leave();
      await expect(again).rejects.toThrow('client gone');
      expect(pod.containers.get(id)?.state).toBe('running');
    });

    it('while the log rotates, to the client nothing is missing, and the old file ends', async () => {
      // What it is told to begin by comes from the client, who is there then.
      const id = await pod.start(
        'read x; i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done; read x',
        { stdin: true },
      );
      const logPath = pod.logPath(id);
      const client = pod.client();
      const session = pod.containers.attach(id, client.streams());
      client.stdin.write('\n');
      await expect.poll(() => client.output.stdout, { ...PATIENCE, interval: 1 }).not.toBe('');
      for (let round = 0; round < 5; round += 1) {
        renameSync(logPath, `${logPath}.${round}`);
        await pod.containers.reopenLog(id);
        expect(readdirSync(logPath.slice(0, logPath.lastIndexOf('/')))).toContain('0.log');
      }
      const logged = () =>
        [0, 1, 2, 3, 4]
          .map((round) => readFileSync(`${logPath}.${round}`, 'utf8'))
          .concat(readFileSync(logPath, 'utf8'))
          .join('');
      await expect.poll(logged, PATIENCE).toMatch(/ F 19999\n/);
      expect(logged().match(/ F \d+\n/g)?.length).toBe(20_000);
      client.stdin.write('\n');
      await session;
      const seen = client.output.stdout.trim().split('\n').map(Number);
      expect(seen).toEqual(Array.from({ length: 20_000 }, (_, index) => index));
    });

    it('a terminal takes sizes, input and Ctrl-D', async () => {
      const id = await pod.start('while read x; do stty size; done', {
        stdin: true,
        terminal: true,
      });
      const client = pod.client();
      const session = pod.containers.attach(id, client.streams({ sizes: true }));
      client.resize({ columns: 77, rows: 22 });
      await expect
        .poll(() => {
          client.stdin.write('\n');
          return client.output.stdout;
        }, PATIENCE)
        .toContain('22 77\r\n');
      client.stdin.write('\x04');
      await session;
      await expect(pod.containers.wait(id)).resolves.toMatchObject({ exitCode: 0 });
    });

    it('a client that does not read is told, and the container not held up', async () => {
      const id = await pod.start('read x; head -c 5000000 /dev/zero | cat -v; echo; echo over', {
        stdin: true,
      });
      const client = pod.client();
      client.delayMs = 500;
      const session = pod.containers.attach(id, client.streams());
      session.catch(() => undefined);
      client.stdin.write('go\n');
      await expect(pod.containers.wait(id)).resolves.toMatchObject({ exitCode: 0 });
      client.delayMs = 0;
      await expect(session).rejects.toMatchObject({ code: 'SLOW_CLIENT' });
    });

    it('is refused where nothing runs', async () => {
      const id = await pod.start('exit 0');
      await pod.containers.wait(id);
      const client = pod.client();
      await expect(pod.containers.attach(id, client.streams())).rejects.toMatchObject({
        code: 'FAILED_PRECONDITION',
      });
      await expect(pod.containers.attach('none', pod.client().streams())).rejects.toMatchObject({
        code: 'NOT_FOUND',
      });
      expect(client.ended.stdout).toBe(true);
    });
  });

  it('reopenLog() of what does not run makes no file, and without a log says so', async () => {
    const id = await pod.start('exit 0');
    await pod.containers.wait(id);
    const logPath = pod.logPath(id);
    renameSync(logPath, `${logPath}.1`);
    await expect(pod.containers.reopenLog(id)).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
    });
    expect(readdirSync(logPath.slice(0, logPath.lastIndexOf('/')))).toEqual(['0.log.1']);
    const { logPath: _none, ...config } = pod.rig.containerConfig({
      name: 'quiet',
      command: ['/bin/sleep', '1000'],
    });
    const quiet = await pod.containers.create(pod.sandboxId, config);
    await pod.containers.start(quiet.id);
    await expect(pod.containers.reopenLog(quiet.id)).rejects.toThrow('it keeps none');
  });

  it('a hundred execs and ten attaches that break off anywhere leave nothing', async () => {
    const id = await pod.start('while read x; do echo "$x"; done; sleep 1000', { stdin: true });
    const supervisorPid = pod.engine.sandboxes.get(pod.sandboxId)?.supervisor?.pid ?? 0;
    const state = () => ({
      own: readdirSync('/proc/self/fd').length,
      supervisor: readdirSync(`/proc/${supervisorPid}/fd`).length,
      threads: readdirSync('/proc/self/task').length,
    });
    const supervisorKilobytes = () =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${supervisorPid}/status`, 'utf8'))?.[1]);
    const round = async (index: number) => {
      const client = pod.client();
      const leaves = setTimeout(() => client.leave(), (index % 10) * 3);
      const terminal = index % 2 === 0;
      const session =
        index % 11 === 0
          ? pod.containers.attach(id, client.streams())
          : pod.containers.execInteractive(id, {
              command: [index % 7 === 0 ? '/nope' : '/bin/cat'],
              terminal,
              streams: client.streams({ stdin: index % 3 !== 0, sizes: terminal }),
            });
      client.stdin.write('x\n');
      await session.catch(() => undefined);
      clearTimeout(leaves);
    };
    for (let index = 0; index < 22; index += 1) await round(index);
    await delay(200);
    // Something may still be on its way out where the machine stood still; that only weakens the comparison.
    const before = state();
    const grown = () => {
      const now = state();
      return (['own', 'supervisor', 'threads'] as const).filter((of) => now[of] > before[of]);
    };
    const memoryBefore = supervisorKilobytes();
    for (let index = 0; index < 110; index += 1) await round(index);
    await expect.poll(grown, PATIENCE).toEqual([]);
    expect(supervisorKilobytes() - memoryBefore).toBeLessThan(256);
    // Only the container's own shell is left.
    await expect.poll(() => pod.processes(id), PATIENCE).toBe(1);
  });
});
