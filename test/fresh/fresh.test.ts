import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type FreshSystem, makeFreshSystem } from './chroot.js';

/** With everything in place, set-up and demo together. */
const SECOND_START_MAX_MS = 10_000;

describe('on a system with nothing but Node and root', () => {
  let directory: string;
  let system: FreshSystem;
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'cais-fresh-'));
    system = await makeFreshSystem(join(directory, 'system'));
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  test('neither compiler, nor Python, nor git is there', async () => {
    const { output } = await system.run('command -v gcc c++ make python3 git || echo none');
    expect(output.trim()).toBe('none');
  });

  test('npm start installs what is missing, builds, and shows what the containers wrote', async () => {
    const { output } = await system.run('npm start');
    console.log(output);
  });

  test('a second npm start takes less than 10 s', async () => {
    const { output, durationMs } = await system.run('npm start');
    console.log(output, durationMs);
    expect(durationMs).toBeLessThan(SECOND_START_MAX_MS);
  });
});
