import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FakeRegistry } from '../fakes/registry.js';
import { CAIS, finished } from './cli-fixture.js';
import { tarOf } from './images-fixture.js';

let directory: string;
let registry: FakeRegistry;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'cais-early-'));
  registry = await FakeRegistry.start();
});
afterAll(async () => {
  await registry.stop();
  rmSync(directory, { recursive: true, force: true });
});

const cais = (...args: string[]) =>
  spawn(CAIS, ['--root', join(directory, 'root'), '--run', join(directory, 'run'), ...args]);
const ingests = () => {
  const path = join(directory, 'root', 'ingest');
  return existsSync(path) ? readdirSync(path) : [];
};

test('a pull that is killed while the config is on its way leaves nothing that the next command does not remove', async () => {
  const tar = await tarOf({ random: randomBytes(3_000_000) });
  const { config } = registry.addImage('p/app', { tag: 'v1', layers: [tar] });
  let isHeld = true;
  registry.misbehaviours.push(async ({ path }) => {
    while (isHeld && path.includes(config.digest)) await delay(5);
    return false;
  });
  const image = `${registry.host}/p/app:v1`;
  const killed = cais('pull', image);
  await expect
    .poll(ingests, { timeout: 20_000 })
    .toEqual([expect.stringMatching(/^early-[0-9a-f]{64}$/)]);
  killed.kill('SIGKILL');
  await once(killed, 'close');
  isHeld = false;
  expect(ingests()).toHaveLength(1);

  expect(await finished(cais('images'))).toMatchObject({ code: 0 });
  expect(ingests()).toEqual([]);
  expect(await finished(cais('pull', image))).toMatchObject({ code: 0 });
  expect((await finished(cais('images'))).stdout).toContain('p/app');
});
