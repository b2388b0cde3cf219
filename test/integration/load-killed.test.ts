import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeOciLayout } from '../../scripts/oci-layout.mjs';
import { CAIS, finished } from './cli-fixture.js';
import { tarOf } from './images-fixture.js';

const NAME = 'example.com/app:v1';
const KILLS = 10;

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'cais-load-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const root = () => join(directory, 'root');
const cais = (...args: string[]) =>
  spawn(CAIS, ['--root', root(), '--run', join(directory, 'run'), ...args]);
const entries = (name: string) => {
  const path = join(root(), name);
  return existsSync(path) ? readdirSync(path) : [];
};

test('a load that is killed at any moment leaves an image as a whole or none, and nothing that the next one does not remove', async () => {
  const tar = await tarOf({ one: randomBytes(400_000), two: randomBytes(400_000) });
  const layout = join(directory, 'layout');
  writeOciLayout(layout, {
    layers: [{ tar, compression: 'gzip' }, { tar: await tarOf({ three: 'x' }) }],
  });
  const started = performance.now();
  const first = await finished(cais('load', '--name', NAME, layout));
  expect(first).toMatchObject({ code: 0 });
  const wholeMs = performance.now() - started;
  let isWhole = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    rmSync(root(), { recursive: true, force: true });
    const killed = cais('load', '--name', NAME, layout);
    const ended = finished(killed);
    // Most of the time passes before anything is written.
    await delay(wholeMs * (0.4 + (0.6 * kill) / KILLS));
    killed.kill('SIGKILL');
    await ended;

    const listed = await finished(cais('images', '--quiet'));
    expect(listed).toMatchObject({ code: 0, stderr: '' });
    expect(entries('ingest')).toEqual([]);
    if (listed.stdout !== '') isWhole++;
    const saved = await finished(cais('save', '--output', join(directory, 'saved.tar'), NAME));
    expect(saved.code, saved.stderr).toBe(listed.stdout === '' ? 1 : 0);
    expect(await finished(cais('load', '--name', NAME, layout))).toMatchObject({ code: 0 });
    expect(await finished(cais('rmi', NAME))).toMatchObject({ code: 0 });
    expect(entries('blobs/sha256')).toEqual([]);
    expect(entries('layers/sha256')).toEqual([]);
  }
  expect(isWhole).toBeLessThan(KILLS);
}, 120_000);
