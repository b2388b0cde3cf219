import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const REPOSITORY = join(import.meta.dirname, '../..');
/** Programs that the set-up calls before it installs anything. */
const PROGRAMS = [
  'sh',
  'dirname',
  'grep',
  'uname',
  'id',
  'mkdir',
  'cat',
  'tail',
  'rm',
  'mv',
  'chmod',
  'node',
  'npm',
];

describe('setup.sh', () => {
  let directory: string;
  let bin: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'cais-setup-'));
    cpSync(join(REPOSITORY, 'scripts'), join(directory, 'scripts'), { recursive: true });
    bin = join(directory, 'bin');
    mkdirSync(bin);
    for (const program of PROGRAMS) symlinkSync(findProgram(program), join(bin, program));
    // Satisfied on every machine, so that each test says what is missing.
    writeFileSync(join(directory, 'scripts/packages-build.txt'), '# nothing\nbash /bin/sh\n');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const fake = (program: string, script: string) => {
    rmSync(join(bin, program), { force: true });
    writeFileSync(join(bin, program), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  };
  const needs = (line: string) =>
    writeFileSync(join(directory, 'scripts/packages-extra.txt'), `${line}\n`);
  const setup = (...lists: string[]) => {
    const { status, stderr, stdout } = spawnSync('/bin/sh', ['scripts/setup.sh', ...lists], {
      cwd: directory,
      env: { PATH: bin },
      encoding: 'utf8',
    });
    return { status, stderr: stderr.trim(), stdout: stdout.trim() };
  };

  test('says that the kernel is too old', () => {
    fake('uname', 'case $1 in -s) echo Linux;; -m) echo x86_64;; -r) echo 5.10.0-28-amd64;; esac');
    expect(setup()).toMatchObject({
      status: 1,
      stderr:
        'setup: Linux 5.14 or newer is needed (overlayfs and mounts by descriptor); this is 5.10.0-28-amd64.',
    });
  });

  test('takes a kernel whose release is only numbers, newer in the major one', () => {
    fake('uname', 'case $1 in -s) echo Linux;; -m) echo x86_64;; -r) echo 10.0;; esac');
    fake('id', 'echo 1000');
    expect(setup().stderr).toContain('Root is needed');
  });

  test('says that Node.js is too old', () => {
    fake('node', 'echo v18.19.0');
    expect(setup()).toMatchObject({
      status: 1,
      stderr: 'setup: Node.js 20 or newer is needed; this is v18.19.0.',
    });
  });

  test('says that root is needed', () => {
    fake('id', 'echo 1000');
    expect(setup()).toMatchObject({
      status: 1,
      stderr:
        'setup: Root is needed, since containers need mounts, namespaces and cgroups; run this with sudo.',
    });
  });

  test('gives somebody who is not root the exact command for missing packages', () => {
    fake('id', 'echo 1000');
    fake('apt-get', 'exit 1');
    needs('no-such-package no-such-program');
    expect(setup('extra')).toMatchObject({
      status: 1,
      stderr:
        'setup: Missing packages; run: sudo apt-get update && sudo apt-get install -y --no-install-recommends no-such-package',
    });
  });

  test('names missing packages where there is no apt-get', () => {
    needs('no-such-package /no/such/file*');
    expect(setup('extra')).toMatchObject({
      status: 1,
      stderr:
        "setup: Missing: no-such-package (names of Debian packages); install their like with this system's package manager.",
    });
  });

  test('refuses a package list that does not exist', () => {
    expect(setup('nothing-such')).toMatchObject({
      status: 1,
      stderr: 'setup: Unknown package list "nothing-such".',
    });
  });

  test('says that no cgroup hierarchy is mounted', () => {
    const script = 'umount -R /sys/fs/cgroup && exec sh scripts/setup.sh';
    const args = ['--mount', '--propagation', 'private', 'sh', '-c', script];
    const { status, stderr } = spawnSync('unshare', args, { cwd: REPOSITORY, encoding: 'utf8' });
    expect(status).toBe(1);
    expect(stderr).toContain('setup: No writable cgroup hierarchy is mounted below /sys/fs/cgroup');
  });
});

test('setup.sh does nothing within 2 s when all is there', () => {
  const begin = performance.now();
  const { status, stdout, stderr } = spawnSync('sh', ['scripts/setup.sh', 'demo', 'test'], {
    cwd: REPOSITORY,
    encoding: 'utf8',
  });
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '', stderr: '' });
  expect(performance.now() - begin).toBeLessThan(2000);
});

function findProgram(name: string): string {
  return spawnSync('sh', ['-c', 'command -v "$1"', 'sh', name], { encoding: 'utf8' }).stdout.trim();
}
