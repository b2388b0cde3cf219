import { copyFileSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { runCommand } from './command.mjs';

/** Debian's static one, package busybox-static. */
const BUSYBOX = '/bin/busybox';

/** Release of the Debian packages in the workloads. */
export const SUITE = 'bookworm';

/** mmdebstrap's: the essential packages and apt. */
export const DEBIAN_VARIANT = 'apt';

/** Time of everything that would otherwise carry the time of the build: 2026-01-01. */
const EPOCH_SECONDS = 1_767_225_600;

/** Exact versions; what they depend on is what the registry serves that day, so the workload is described by its digest. */
export const APP_PACKAGES = [
  '@ant-design/icons-svg@4.4.2',
  '@babel/core@7.24.7',
  '@babel/preset-env@7.24.7',
  'aws-sdk@2.1650.0',
  'core-js@3.37.1',
  'date-fns@3.6.0',
  'eslint@8.57.0',
  'express@4.19.2',
  'googleapis@140.0.0',
  'jest@29.7.0',
  'lodash@4.17.21',
  'mathjs@13.0.0',
  'monaco-editor@0.50.0',
  'mongoose@8.4.3',
  'next@14.2.4',
  'prettier@3.3.2',
  'react@18.3.1',
  'react-dom@18.3.1',
  'rxjs@7.8.1',
  'three@0.165.0',
  'typescript@5.5.2',
  'webpack@5.92.1',
];

/** Debian packages of each layer of `big`, chosen so that each layer has about 230 MB, most of it programs and libraries. */
export const BIG_LAYERS = [
  ['cpp-12', 'g++-12', 'gcc-12', 'gfortran-12'],
  ['chromium'],
  ['etcd-server', 'openjdk-17-jre-headless'],
  ['libllvm14', 'libllvm15'],
  ['containerd', 'docker.io'],
  ['hugo', 'kubernetes-client', 'postgresql-15', 'prometheus'],
];

/**
 * Each writes the tars of one workload into `tarDirectory` as `layer-0.tar` (the lowest) and so on; `scratch` is an empty directory for what it
 * needs on the way.
 * @typedef {(tarDirectory: string, scratch: string) => Promise<void>} WriteTars
 */

/**
 * A minimal Debian root file system, as mmdebstrap makes it. No device nodes, since images in registries have none.
 * @type {WriteTars}
 */
export async function writeDebianTars(tarDirectory) {
  await runCommand(
    'mmdebstrap',
    [
      `--variant=${DEBIAN_VARIANT}`,
      '--format=tar',
      '--skip=output/dev',
      '--aptopt=Acquire::Check-Valid-Until "false"',
      '--quiet',
      SUITE,
      join(tarDirectory, 'layer-0.tar'),
    ],
    { env: { SOURCE_DATE_EPOCH: String(EPOCH_SECONDS) } },
  );
}

/**
 * A Node application: what `npm install` of well-known packages unpacks, beside a busybox.
 * @type {WriteTars}
 */
export async function writeAppTars(tarDirectory, scratch) {
  const root = join(scratch, 'root');
  const app = join(root, 'app');
  writeBase(root);
  mkdirSync(app);
  writeFileSync(join(app, 'package.json'), '{"name":"app","version":"1.0.0","private":true}\n');
  await runCommand(
    'npm',
    [
      'install',
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      '--no-update-notifier',
      '--legacy-peer-deps',
      `--cache=${join(scratch, 'npm')}`,
      ...APP_PACKAGES,
    ],
    { cwd: app },
  );
  // npm gives the files the time of the installation.
  await writeTar(root, join(tarDirectory, 'layer-0.tar'), [`--mtime=@${EPOCH_SECONDS}`]);
}

/**
 * Layers of large binaries from Debian packages; the lowest has a busybox too.
 * @type {WriteTars}
 */
export async function writeBigTars(tarDirectory, scratch) {
  // Apt's own user may not write into the cache, and apt then warns and goes on as root.
  await runCommand('apt-get', ['--quiet', 'download', ...BIG_LAYERS.flat()], {
    cwd: scratch,
  }).catch((cause) => {
    throw new Error(
      `Cannot download Debian packages; does "apt-get update" succeed? ${cause.message}`,
      { cause },
    );
  });
  for (const [index, packages] of BIG_LAYERS.entries()) {
    const root = join(scratch, 'root');
    if (index === 0) writeBase(root);
    for (const name of packages) {
      const path = packagePath(scratch, name);
      await runCommand('dpkg-deb', ['--extract', path, root]);
      rmSync(path);
    }
    await writeTar(root, join(tarDirectory, `layer-${index}.tar`), [
      `--mtime=@${EPOCH_SECONDS}`,
      '--clamp-mtime',
    ]);
    rmSync(root, { recursive: true });
  }
}

/**
 * apt-get names a file by package, version and architecture.
 * @param {string} directory
 * @param {string} name
 */
function packagePath(directory, name) {
  const file = readdirSync(directory).find(
    (candidate) => candidate.startsWith(`${name}_`) && candidate.endsWith('.deb'),
  );
  if (file === undefined) throw new Error(`apt-get downloaded no file for the package "${name}"`);
  return join(directory, file);
}

/**
 * What a container needs to start on the image: a static `/bin/true`, and the directories that runtimes mount on.
 * @param {string} root made here
 */
function writeBase(root) {
  for (const name of ['', 'bin', 'dev', 'etc', 'proc', 'sys', 'tmp']) {
    mkdirSync(join(root, name), { mode: 0o755 });
  }
  copyFileSync(BUSYBOX, join(root, 'bin', basename(BUSYBOX)));
  for (const name of ['cat', 'ls', 'sh', 'true']) {
    symlinkSync(basename(BUSYBOX), join(root, 'bin', name));
  }
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/:/bin/sh\n');
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\n');
}

/**
 * Tar of a directory that depends on its content only. Extended headers appear where a name is too long and nowhere else, as in layers that
 * builders of images make.
 * @param {string} root
 * @param {string} path
 * @param {readonly string[]} args
 */
async function writeTar(root, path, args) {
  await runCommand('tar', [
    '--create',
    `--file=${path}`,
    `--directory=${root}`,
    '--sort=name',
    '--format=posix',
    '--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime,delete=mtime',
    '--numeric-owner',
    '--owner=0',
    '--group=0',
    ...args,
    '.',
  ]);
}
