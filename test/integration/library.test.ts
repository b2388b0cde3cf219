import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Engine } from '../../src/index.js';
import { CliFixture, finished } from './cli-fixture.js';

let fixture: CliFixture;
beforeAll(async () => {
  fixture = await CliFixture.open();
});
afterAll(() => fixture.close());

test('the example of the library runs', async () => {
  const example = join(import.meta.dirname, '../../examples/run-pod.mjs');
  const child = spawn('node', [example, fixture.image], { env: fixture.environment });
  const { code, stdout, stderr } = await finished(child);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/app stdout: hello from from-a-program, address 10\.\d+\.\d+\.\d+/);
  expect(stdout).toContain('from-a-program: Succeeded, exit code 0');
});

test('a pod ends with its disposal and leaves nothing behind', async () => {
  const { root, run, cgroupParent, image } = fixture;
  {
    await using engine = await Engine.open({ root, run, cgroupParent });
    await using pod = await engine.pods.run({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'held' },
      spec: {
        terminationGracePeriodSeconds: 0,
        containers: [{ name: 'a', image, command: ['sh', '-c', 'echo up; sleep 1000'] }],
      },
    });
    for await (const { text } of pod.logs()) {
      expect(String(text)).toBe('up');
      break;
    }
    expect(engine.pods.get('held').phase).toBe('Running');
  }
  await fixture.expectNoLeaks();
});
