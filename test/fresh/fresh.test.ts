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
    expectDemo((await system.run('npm start')).output);
  });

  test('a second npm start takes less than 10 s', async () => {
    const { output, durationMs } = await system.run('npm start');
    expectDemo(output);
    expect(output).not.toContain('setup:');
    expect(durationMs).toBeLessThan(SECOND_START_MAX_MS);
  });

  test('services may start again, and nothing lies about', async () => {
    const { output } = await system.run(
      'for path in /usr/sbin/policy-rc.d /tmp/* /var/lib/cais; do [ ! -e $path ] || echo $path; done',
    );
    expect(output).toBe('');
  });
});

/** The lines that the containers of examples/pod.yaml write. */
function expectDemo(output: string): void {
  expect(output).toContain('preparing example');
  expect(output).toContain('hello from the init container');
  expect(output).toContain('counter says 3');
}
