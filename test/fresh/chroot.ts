import { execFile } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { debianTarball } from '../fixtures/debian-tree.js';

const run = promisify(execFile);
const REPOSITORY = join(import.meta.dirname, '../..');

/** Variables by which a machine says where its registries and their certificates are. */
const HOST_VARIABLES =
  /^(HTTPS?_PROXY|NO_PROXY|https?_proxy|no_proxy|NODE_EXTRA_CA_CERTS|SSL_CERT_FILE|npm_config_registry)$/;

/** A minimal Debian system in a directory, with Node, npm and a clone of the last commit. */
export interface FreshSystem {
  readonly directory: string;
  /** Runs a shell command in the clone, as root of the system; rejects with its output when it fails. */
  run(command: string): Promise<{ readonly output: string; readonly durationMs: number }>;
}

/** Unpacks a Debian system that has neither compiler nor Python nor git into `directory`, and puts Node, npm and the clone in. */
export async function makeFreshSystem(directory: string): Promise<FreshSystem> {
  mkdirSync(directory, { recursive: true });
  await run('tar', ['-C', directory, '--numeric-owner', '-xf', await debianTarball([])]);
  copyNode(directory);
  copyRegistryConfiguration(directory);
  const archive = join(directory, 'clone.tar');
  await run('git', ['-C', REPOSITORY, 'archive', '--output', archive, 'HEAD']);
  mkdirSync(join(directory, 'root/cais'));
  await run('tar', ['-C', join(directory, 'root/cais'), '-xf', archive]);
  return { directory, run: (command) => runInside(directory, command) };
}

/** Node as its archive lays it out: the program, its headers, npm. */
function copyNode(directory: string): void {
  const prefix = dirname(dirname(realpathSync(process.execPath)));
  const target = join(directory, 'usr/local');
  copyFileSync(process.execPath, join(target, 'bin/node'));
  for (const path of ['include/node', 'lib/node_modules/npm']) {
    const source = [prefix, '/usr/local', '/usr'].map((base) => join(base, path)).find(existsSync);
    if (source === undefined) throw new Error(`Node's "${path}" is not on this machine`);
    cpSync(source, join(target, path), { recursive: true });
  }
  const npm = '#!/bin/sh\nexec node /usr/local/lib/node_modules/npm/bin/npm-cli.js "$@"\n';
  writeFileSync(join(target, 'bin/npm'), npm, { mode: 0o755 });
}

/** Where this machine's apt and npm find their registries, and whom they trust. */
function copyRegistryConfiguration(directory: string): void {
  const copies = [
    ['/etc/resolv.conf', '/etc/resolv.conf'],
    ['/etc/hosts', '/etc/hosts'],
    ['/etc/ssl/certs/ca-certificates.crt', '/etc/ssl/certs/ca-certificates.crt'],
    [join(homedir(), '.npmrc'), '/root/.npmrc'],
  ] as const;
  for (const [source, target] of copies) {
    if (!existsSync(source)) continue;
    mkdirSync(dirname(join(directory, target)), { recursive: true });
    writeFileSync(join(directory, target), readFileSync(source));
  }
  writeFileSync(
    join(directory, 'etc/apt/apt.conf.d/99dates'),
    'Acquire::Check-Valid-Until "false";\nAcquire::Check-Date "false";\n',
  );
}

/**
 * Runs a command with the system as its root, in a mount and a process namespace of its own: every mount and every process
 * that it leaves goes away with it.
 */
async function runInside(directory: string, command: string) {
  const variables = Object.entries(process.env).filter(([name]) => HOST_VARIABLES.test(name));
  const env = {
    ...Object.fromEntries(variables),
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: '/root',
    CI: 'true',
  };
  const mounts = `
set -e
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=755 tmpfs "$1/run"
exec chroot "$1" /bin/sh -c "cd /root/cais && $2"
`;
  const begin = performance.now();
  try {
    const { stdout, stderr } = await run(
      'unshare',
      [
        ...['--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child', '--'],
        ...['sh', '-c', mounts, 'sh', directory, command],
      ],
      { env, maxBuffer: 2 ** 26 },
    );
    return { output: stdout + stderr, durationMs: performance.now() - begin };
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    // The error of execFile repeats all of it, so it is no cause worth printing.
    throw new Error(
      `"${command}" failed in the fresh system:\n${`${stdout}${stderr}`.slice(-8000)}`,
    );
  }
}
