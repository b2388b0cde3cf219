import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { writeOciLayout } from '../../scripts/oci-layout.mjs';
import { CAIS, finished } from './cli-fixture.js';
import { tarOf } from './images-fixture.js';

const NAME = 'example.com/app:v1';
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

/** Of what is written: the moment to kill, and some time after it. */
const MOMENTS = [
  ['the trial of the form of layers', () => entries('ingest').includes('probe')],
  ['the first file of a layer', () => entries('ingest').some((name) => name.startsWith('layer-'))],
  ['the first small blob', () => entries('blobs/sha256').length > 0],
  ['the first layer', () => entries('layers/sha256').length > 0],
  ['the last layer', () => entries('layers/sha256').length > 1],
  ['the list for other tools', () => existsSync(join(root(), 'index.json'))],
] as const;
const DELAYS_MS = [0, 3];

let layout: string;
beforeAll(async () => {
  const tar = await tarOf({ one: randomBytes(400_000), two: randomBytes(400_000) });
  const layers = [{ tar, compression: 'gzip' } as const, { tar: await tarOf({ three: 'x' }) }];
  layout = join(directory, 'layout');
  writeOciLayout(layout, { layers });
});
afterEach(() => rmSync(root(), { recursive: true, force: true }));

describe.each(MOMENTS)('a load that is killed after %s', (_, hasCome) => {
  it.each(DELAYS_MS)(
    'and %i ms leaves an image as a whole or none, and nothing for good',
    async (delayMs) => {
      const killed = cais('load', '--name', NAME, layout);
      const ended = finished(killed);
      while (!hasCome() && killed.exitCode === null) await delay(0);
      await delay(delayMs);
      killed.kill('SIGKILL');
      await ended;

      const listed = await finished(cais('images', '--quiet'));
      expect(listed).toMatchObject({ code: 0, stderr: '' });
      // Those of small blobs go with the next collection.
      expect(entries('ingest').filter((name) => !name.startsWith('blob-'))).toEqual([]);
      const saved = await finished(cais('save', '--output', join(directory, 'saved.tar'), NAME));
      expect(saved.code, saved.stderr).toBe(listed.stdout === '' ? 1 : 0);
      expect(await finished(cais('load', '--name', NAME, layout))).toMatchObject({ code: 0 });
      expect(await finished(cais('rmi', NAME))).toMatchObject({ code: 0 });
      expect(entries('ingest')).toEqual([]);
      expect(entries('blobs/sha256')).toEqual([]);
      expect(entries('layers/sha256')).toEqual([]);
    },
  );
});
