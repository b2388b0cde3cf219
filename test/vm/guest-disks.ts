import { execFile } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { debianTarball } from '../fixtures/debian-tree.js';
import { cached } from '../fixtures/machine-cache.js';
import type { GuestKernel } from './kernel.js';

const run = promisify(execFile);
const REPOSITORY = join(import.meta.dirname, '../..');
const INIT = join(import.meta.dirname, 'guest-init.sh');

/** What the suites call, beside the essential programs. */
const GUEST_PACKAGES = [
  'apache2-utils',
  'attr',
  'busybox-static',
  'docker-registry',
  'iproute2',
  'kmod',
  'libcap2-bin',
  'nftables',
  'procps',
  'python3',
  'skopeo',
  'umoci',
  'zstd',
];

/** Parts of the repository that tests need where nothing is built. */
const REPOSITORY_PARTS = [
  'bin',
  'dist',
  'dist-cli',
  'examples',
  'native',
  'package.json',
  'scripts',
  'src',
  'test',
  'tsconfig.json',
  'vitest.config.ts',
];

/** npm packages that build and lint, of which nothing is loaded while tests run. */
const UNUSED_MODULES = ['@biomejs', '.cache'];

/** The guest's root: a Debian system with this machine's Node and the modules of its kernel. Kept in the cache. */
export async function systemDisk(kernel: GuestKernel): Promise<string> {
  const tarball = await debianTarball(GUEST_PACKAGES);
  const facts = [basename(tarball), kernel.release, process.version, readFileSync(INIT, 'utf8')];
  return cached({ name: 'vm-system.ext4', facts }, async (path) => {
    await withStaging(path, async (root) => {
      await run('tar', ['-C', root, '--numeric-owner', '--xattrs', '-xf', tarball]);
      copyFileSync(process.execPath, join(root, 'usr/bin/node'));
      copyFileSync(INIT, join(root, 'init'));
      await run('chmod', ['755', join(root, 'init'), join(root, 'usr/bin/node')]);
      mkdirSync(join(root, 'cais'));
      const modules = join(root, 'lib/modules', kernel.release);
      mkdirSync(dirname(modules), { recursive: true });
      cpSync(kernel.modulesDirectory, modules, { recursive: true });
      await makeExt4(path, root);
    });
  });
}

/** The repository as it is built here, with `guestRun`, the shell script that the guest runs in it. */
export async function repositoryDisk(path: string, guestRun: string): Promise<void> {
  await withStaging(path, async (root) => {
    for (const part of REPOSITORY_PARTS) {
      await run('cp', ['-a', join(REPOSITORY, part), root]).catch((error: Error) => {
        if (!/No such file/.test(error.message)) throw error;
      });
    }
    mkdirSync(join(root, 'build/Release'), { recursive: true });
    for (const name of ['cais.node', 'cais-supervisor']) {
      const product = join('build/Release', name);
      copyFileSync(join(REPOSITORY, product), join(root, product));
    }
    await run('cp', ['-a', join(REPOSITORY, 'node_modules'), root]);
    for (const name of UNUSED_MODULES) await run('rm', ['-rf', join(root, 'node_modules', name)]);
    writeFileSync(join(root, 'guest-run'), guestRun);
    await makeExt4(path, root);
  });
}

/** Gives `fill` a private directory beside `path`, and removes it afterwards. */
async function withStaging(path: string, fill: (root: string) => Promise<void>): Promise<void> {
  const root = `${path}.root`;
  mkdirSync(root, { recursive: true });
  try {
    await fill(root);
  } finally {
    await run('rm', ['-rf', root]);
  }
}

/** Writes a sparse image file of an ext4 file system that holds `root`, with room for what tests write. */
async function makeExt4(path: string, root: string): Promise<void> {
  const options = ['-q', '-F', '-t', 'ext4', '-m', '0', '-O', '^has_journal', '-d', root];
  await run('mke2fs', [...options, path, '4G']);
}
