import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RunningPod } from '../fixtures/running-pod.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: containers need root');

const PATIENCE = { timeout: 20_000 * Number(process.env['CAIS_TIME_FACTOR'] ?? 1) };

describe.skipIf(!isRoot)('commands in a running container', () => {
  let pod: RunningPod;

  beforeAll(async () => {
    pod = await RunningPod.open();
  });
  afterAll(() => pod.close());

  describe('exec()', () => {
    let id: string;
    beforeAll(async () => {
      id = await pod.start('sleep 1000');
    });
    const exec = (script: string, options = {}) =>
      pod.containers.exec(id, { command: ['/bin/sh', '-c', script], ...options });

    it.each([0, 1, 7, 126, 127])('gives exit code %d', async (code) => {
      await expect(exec(`exit ${code}`)).resolves.toMatchObject({ exitCode: code });
    });

    it('gives 128 + signal, and both streams byte for byte', async () => {
      await expect(exec('kill -9 $$')).resolves.toMatchObject({ exitCode: 137 });
      const { stdout, stderr } = await exec(
        'i=0; while [ $i -lt 256 ]; do printf "\\\\$(printf %o $i)"; i=$((i+1)); done; echo err >&2',
      );
      expect([...stdout]).toEqual([...Array(256).keys()]);
      expect(stderr.toString()).toBe('err\n');
    });

    it('a time limit ends everything that was started, whatever it did to escape', async () => {
      const before = await pod.processes(id);
      const startedAt = performance.now();
      await expect(
        exec('setsid sh -c "trap \\"\\" TERM HUP; sleep 1000 & sleep 1000" & sleep 1000', {
          timeoutMs: 300,
        }),
      ).rejects.toMatchObject({ code: 'TIMED_OUT' });
      expect(performance.now() - startedAt).toBeLessThan(3000);
      await expect.poll(() => pod.processes(id), PATIENCE).toBe(before);
    });

    it('a child that keeps the output does not hold up the answer', async () => {
      const startedAt = performance.now();
      const { stdout, exitCode } = await exec('echo first; sleep 1000 & exit 3', {
        timeoutMs: 700,
      });
      expect({ stdout: stdout.toString(), exitCode }).toEqual({ stdout: 'first\n', exitCode: 3 });
      expect(performance.now() - startedAt).toBeLessThan(2000);
    });

    it('a caller that gives up ends the process', async () => {
      const abort = new AbortController();
      const running = exec('echo $$; sleep 1000', { signal: abort.signal });
      setTimeout(() => abort.abort(new Error('enough')), 200);
      await expect(running).rejects.toThrow('enough');
      await expect(exec('true', { signal: abort.signal })).rejects.toThrow('enough');
    });

    it.each([
      [['/nope'], 127],
      [['nope'], 127],
      [['/etc/passwd'], 126],
    ] as const)('%j cannot be started, with exit code %d', async (command, exitCode) => {
      await expect(pod.containers.exec(id, { command })).rejects.toMatchObject({
        code: 'START_FAILED',
        step: 'exec',
        exitCode,
      });
    });

    it('is refused for no command, for what is no container, and for what does not run', async () => {
      const run = (target: string, command: string[]) => pod.containers.exec(target, { command });
      await expect(run(id, [])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
      await expect(run(id, ['a\0b'])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
      await expect(run('none', ['true'])).rejects.toMatchObject({ code: 'NOT_FOUND' });
      const ended = await pod.start('exit 0');
      await pod.containers.wait(ended);
      await expect(run(ended, ['true'])).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
    });

    it('two hundred at once', async () => {
      const results = await Promise.all(
        Array.from({ length: 200 }, (_, index) =>
          exec(`echo ${index}; exit ${index % 5}`, index % 2 === 0 ? { timeoutMs: 60_000 } : {}),
        ),
      );
      results.forEach(({ stdout, exitCode }, index) => {
        expect({ text: stdout.toString(), exitCode }).toEqual({
          text: `${index}\n`,
          exitCode: index % 5,
        });
      });
    });
  });
});
