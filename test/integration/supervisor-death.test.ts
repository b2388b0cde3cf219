import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Engine } from '../../src/index.js';
import { isAlive } from '../../src/sandbox/process-identity.js';
import { cgroupMountpoints, linkNames } from '../fixtures/leak-check.js';
import { CliFixture } from './cli-fixture.js';

let fixture: CliFixture;
beforeAll(async () => {
  fixture = await CliFixture.open();
});
afterAll(() => fixture.close());

/** Name of the link over which an address is reached. */
function linkTo(ip: string): string {
  const [route] = JSON.parse(
    execFileSync('ip', ['-j', 'route', 'get', ip], { encoding: 'utf8' }),
  ) as { dev: string }[];
  return route?.dev ?? '';
}

test('kill -9 of a supervisor ends its pod: 137 with a reason, and cgroups, network and directories are given back', async () => {
  const { root, run, cgroupParent, image } = fixture;
  await using engine = await Engine.open({ root, run, cgroupParent });
  const pod = await engine.pods.run({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'doomed' },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 0,
      containers: [
        { name: 'a', image, command: ['sh', '-c', 'sleep 1000 & echo up; sleep 1000'] },
        { name: 'b', image, command: ['sleep', '1000'] },
      ],
    },
  });
  for await (const { text } of pod.logs()) {
    expect(String(text)).toBe('up');
    break;
  }
  await expect.poll(() => engine.pods.get('doomed').phase).toBe('Running');
  const sandbox = engine.sandboxes.list()[0];
  if (sandbox?.supervisor === undefined || sandbox.ip === undefined) throw new Error('No sandbox');
  const containers = engine.containers.list();
  const processes = containers.flatMap((container) => container.process ?? []);
  expect(processes).toHaveLength(2);
  const bridge = linkTo(sandbox.ip);
  expect(linkNames()).toContain(bridge);
  const cgroups = cgroupMountpoints().map((mountpoint) => join(mountpoint, sandbox.cgroup));
  expect(cgroups.some((directory) => existsSync(directory))).toBe(true);

  process.kill(sandbox.supervisor.pid, 'SIGKILL');

  for (const { id } of containers) {
    expect(await engine.containers.wait(id)).toMatchObject({
      exitCode: 137,
      reason: 'SupervisorDied',
    });
  }
  for (const each of processes) expect(isAlive(each)).toBe(false);
  await expect.poll(() => engine.sandboxes.get(sandbox.id)?.state ?? 'removed').not.toBe('ready');
  // The address, and with the last one the bridge, go at once; cgroups and directories with the sandbox.
  expect(linkNames()).not.toContain(bridge);
  await engine.pods.remove('doomed', { force: true });
  expect(cgroups.filter((directory) => existsSync(directory))).toEqual([]);
  expect(existsSync(join(run, sandbox.id))).toBe(false);
  await engine.close();
  await fixture.expectNoLeaks();
});
