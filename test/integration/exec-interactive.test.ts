import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TestClient } from '../fixtures/client-streams.js';
import { RunningPod } from '../fixtures/running-pod.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: containers need root');

const PATIENCE = { timeout: 20_000 * Number(process.env['CAIS_TIME_FACTOR'] ?? 1) };
const MEBIBYTE = 2 ** 20;

describe.skipIf(!isRoot)('interactive commands in a running container', () => {
  let pod: RunningPod;

  beforeAll(async () => {
    pod = await RunningPod.open();
  });
  afterAll(() => pod.close());

  describe('execInteractive()', () => {
    let id: string;
    beforeAll(async () => {
      id = await pod.start('sleep 1000');
    });
    const run = (script: string, client: TestClient, options = {}) =>
      pod.containers.execInteractive(id, {
        command: ['/bin/sh', '-c', script],
        terminal: false,
        streams: client.streams(),
        ...options,
      });

    it('carries input, its end, and both outputs', async () => {
      const client = pod.client();
      const running = run('cat; echo over >&2; exit 4', client);
      client.stdin.write('one\n');
      await expect.poll(() => client.output.stdout, PATIENCE).toBe('one\n');
      client.stdin.end('two\n');
      await expect(running).resolves.toEqual({ exitCode: 4 });
      expect(client.output).toEqual({ stdout: 'one\ntwo\n', stderr: 'over\n' });
      expect(client.ended).toEqual({ stdout: true, stderr: true });
      expect(client.stdin.destroyed).toBe(true);
    });

    it('without stdin the input is at its end, and the command may leave its input unread', async () => {
      const client = pod.client();
      const streams = client.streams({ stdin: false });
      await expect(run('wc -c', client, { streams })).resolves.toEqual({ exitCode: 0 });
      expect(client.output.stdout.trim()).toBe('0');
      const deaf = pod.client();
      const running = run('exec 0<&-; sleep 0.3; exit 2', deaf);
      deaf.stdin.end(Buffer.alloc(4 * MEBIBYTE));
      await expect(running).resolves.toEqual({ exitCode: 2 });
    });

    it('much input and much output, each side at the pace of the other', async () => {
      const client = pod.client();
      const running = run('sleep 0.3; cat', client);
      const content = Buffer.alloc(20 * MEBIBYTE, 'abcdefgh\n');
      client.stdin.end(content);
      await expect(running).resolves.toEqual({ exitCode: 0 });
      expect(client.output.stdout.length).toBe(content.length);
      expect(client.output.stdout === content.toString('latin1')).toBe(true);
    });

    it('a slow client slows the process down, and still gets everything that it wrote', async () => {
      const client = pod.client();
      client.delayMs = 5;
      await expect(run('head -c 3000000 /dev/zero; echo end', client)).resolves.toEqual({
        exitCode: 0,
      });
      expect(client.output.stdout.length).toBe(3_000_004);
      expect(client.output.stdout.endsWith('end\n')).toBe(true);
    });

    it('a child that keeps the output is not waited for', async () => {
      const client = pod.client();
      const startedAt = performance.now();
      await expect(run('echo x; sleep 1000 & exit 1', client)).resolves.toEqual({ exitCode: 1 });
      expect(client.output.stdout).toBe('x\n');
      expect(performance.now() - startedAt).toBeLessThan(8000);
    });

    it('a client that goes closes the input and the output', async () => {
      const client = pod.client();
      const before = await pod.processes(id);
      const running = run('cat; while echo x; do sleep 0.05; done', client);
      running.catch(() => undefined);
      client.stdin.write('hello\n');
      await expect.poll(() => client.output.stdout, PATIENCE).toBe('hello\n');
      client.leave();
      await expect(running).rejects.toThrow('client gone');
      await expect.poll(() => pod.processes(id), PATIENCE).toBe(before);
    });

    it('on a terminal: its own device, size from the start, TERM, echo, Ctrl-C, exit code', async () => {
      const client = pod.client();
      client.resize({ columns: 99, rows: 33 });
      const running = run(
        'stty size; tty; echo $TERM; trap "echo int" INT; cat; echo after; exit 6',
        client,
        { terminal: true, streams: client.streams({ sizes: true }) },
      );
      await expect.poll(() => client.output.stdout, PATIENCE).toContain('xterm\r\n');
      expect(client.output.stdout).toMatch(/^33 99\r\n\/dev\/pts\/\d+\r\nxterm\r\n/);
      client.stdin.write('typed\n');
      await expect.poll(() => client.output.stdout, PATIENCE).toContain('typed\r\ntyped\r\n');
      client.stdin.write('\x03');
      await expect(running).resolves.toEqual({ exitCode: 6 });
      expect(client.output.stdout).toContain('after\r\n');
      expect(client.output.stderr).toBe('');
    });

    it('a terminal follows its client: sizes that are none are left out', async () => {
      const client = pod.client();
      const running = run('while read x; do stty size; done', client, {
        terminal: true,
        streams: client.streams({ sizes: true }),
      });
      for (const size of [
        { columns: 0, rows: 10 },
        { columns: 10, rows: 70_000 },
        { columns: 132, rows: 43 },
      ]) {
        client.resize(size);
      }
      await expect
        .poll(() => {
          client.stdin.write('\n');
          return client.output.stdout;
        }, PATIENCE)
        .toContain('43 132\r\n');
      expect(client.output.stdout).not.toMatch(/ 10\r|10 0\r/);
      client.stdin.write('\x04');
      await expect(running).resolves.toEqual({ exitCode: 0 });
    });

    it('a terminal: much output to a slow client, to its last byte', async () => {
      const client = pod.client();
      client.delayMs = 2;
      const running = run('seq 1 60000; echo over', client, { terminal: true });
      await expect(running).resolves.toEqual({ exitCode: 0 });
      const lines = client.output.stdout.split('\r\n');
      expect(lines.length).toBe(60_002);
      expect(lines.at(-2)).toBe('over');
    });

    it('a terminal whose client goes is hung up', async () => {
      const client = pod.client();
      const before = await pod.processes(id);
      const running = run('sleep 1000', client, { terminal: true });
      running.catch(() => undefined);
      await expect.poll(() => pod.processes(id), PATIENCE).toBeGreaterThan(before);
      client.leave();
      await expect(running).rejects.toThrow('client gone');
      await expect.poll(() => pod.processes(id), PATIENCE).toBe(before);
    });

    it('what cannot be started ends the streams too', async () => {
      for (const terminal of [false, true]) {
        const client = pod.client();
        await expect(
          pod.containers.execInteractive(id, {
            command: ['/nope'],
            terminal,
            streams: client.streams(),
          }),
        ).rejects.toMatchObject({ code: 'START_FAILED', exitCode: 127 });
        expect(client.ended).toEqual({ stdout: true, stderr: true });
      }
      const client = pod.client();
      const streams = client.streams();
      await expect(
        pod.containers.execInteractive('none', { command: ['x'], terminal: false, streams }),
      ).rejects.toMatchObject({ code: 'NOT_FOUND' });
      expect(client.ended.stdout).toBe(true);
    });
  });
});
