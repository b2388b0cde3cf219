import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { benchCacheDirectory, publishDirectory } from './cache.mjs';

/** What the newer peers are made of; an installation without recommended packages would leave out certificates and packet filters. */
const PACKAGES = [
  'ca-certificates',
  'containerd',
  'crun',
  'erofs-utils',
  'iptables',
  'isal',
  'nftables',
  'pigz',
  'podman',
  'runc',
  'skopeo',
  'umoci',
  'zstd',
];

/** A file of the tree that says whose it is. */
const STAMP = 'etc/cais-peer-root';

/** Where the tree lies that `makePeerRoot` makes. */
export function defaultPeerRoot() {
  return join(benchCacheDirectory(), 'peer-root-sid');
}

/** @param {string} directory */
export function isPeerRootMade(directory = defaultPeerRoot()) {
  return existsSync(join(directory, STAMP));
}

/**
 * Makes a Debian sid with the newest packaged peers below the cache, when it is not there yet; it takes half a minute and 520 MB.
 * The versions stay those of the day it was made: remove the directory for newer ones.
 * @param {(line: string) => void} say
 * @returns {Promise<string>} its directory
 */
export async function makePeerRoot(say) {
  const directory = defaultPeerRoot();
  if (isPeerRootMade(directory)) return directory;
  say(`making a Debian sid with newer peers in ${directory}`);
  await publishDirectory(directory, async (privateDirectory) => {
    await mmdebstrap(privateDirectory);
    const made = new Date().toISOString();
    writeFileSync(join(privateDirectory, STAMP), `Made by cais for its benchmark on ${made}.\n`);
  });
  return directory;
}

/** @param {string} directory */
async function mmdebstrap(directory) {
  const child = spawn(
    'mmdebstrap',
    [
      '--mode=root',
      '--format=directory',
      '--variant=minbase',
      '--components=main',
      `--include=${PACKAGES.join(',')}`,
      '--aptopt=APT::Install-Recommends "false"',
      // Mirrors that stand still, as the ones of build farms do, serve an expired list of sid; the signature is checked as ever.
      '--aptopt=Acquire::Check-Valid-Until "false"',
      '--quiet',
      'sid',
      directory,
      'http://deb.debian.org/debian',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let errors = '';
  child.stderr.on('data', (/** @type {Buffer} */ chunk) => {
    errors = (errors + chunk.toString()).slice(-4000);
  });
  const stop = () => child.kill('SIGTERM');
  process.once('exit', stop);
  try {
    const code = await new Promise((resolve, reject) => {
      child.once('error', reject).once('close', resolve);
    });
    if (code !== 0) throw new Error(`Cannot make a Debian sid by mmdebstrap: ${errors.trim()}`);
  } finally {
    process.removeListener('exit', stop);
  }
}
