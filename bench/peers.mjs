import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { containerd, HELPERS } from './contestants/containerd.mjs';
import { readFeatures } from './contestants/containerd-config.mjs';
import { javascript } from './contestants/javascript.mjs';
import { podman } from './contestants/podman.mjs';
import { askProgram, parseVersion, programIn } from './contestants/programs.mjs';
import { DECOMPRESSORS, tar } from './contestants/tar.mjs';
import { umoci } from './contestants/umoci.mjs';
import { defaultPeerRoot, isPeerRootMade, makePeerRoot } from './peer-root.mjs';

/** @typedef {import('./contract.js').Contestant} Contestant */
/** @typedef {import('./contract.js').Found} Found */

const SETUP = fileURLToPath(new URL('../scripts/setup.sh', import.meta.url));

/**
 * The contestants that are not cais: those of this machine, and the newer ones of another root file system.
 * @param {object} options
 * @param {string} [options.peerRoot] a chroot of the user; without it the one in the cache, which `install` makes
 * @param {boolean} [options.install] installs Debian packages of this machine, and makes the chroot
 * @param {(line: string) => void} options.say
 * @returns {Promise<Found[]>}
 */
export async function findPeers({ peerRoot, install = false, say }) {
  if (install) await installPackages(say);
  const found = await peersIn('/');
  found.push(...(await findTars()), javascript());

  const newer = await findPeerRoot({ peerRoot, install, say });
  if (typeof newer === 'string') found.push(...(await peersIn(newer)));
  else found.push(newer);
  return withUniqueNames(found);
}

/**
 * @param {object} options
 * @param {string | undefined} options.peerRoot
 * @param {boolean} options.install
 * @param {(line: string) => void} options.say
 * @returns {Promise<string | Found>}
 */
async function findPeerRoot({ peerRoot, install, say }) {
  const product = 'newer containerd, podman and umoci';
  if (peerRoot !== undefined) {
    return existsSync(peerRoot)
      ? peerRoot
      : { product, missing: `there is no directory ${peerRoot}` };
  }
  if (isPeerRootMade()) return defaultPeerRoot();
  if (!install) return { product, missing: 'no --peer-root; --install-peers makes one' };
  try {
    return await makePeerRoot(say);
  } catch (error) {
    return { product, missing: error instanceof Error ? error.message : String(error) };
  }
}

/**
 * @param {string} root
 * @returns {Promise<Found[]>}
 */
async function peersIn(root) {
  return (
    await Promise.all([
      found(root, 'containerd', (version) => containerdVariants(root, version)),
      found(root, 'podman', async (version) => [podman({ root, version })]),
      found(root, 'umoci', async (version) => [umoci({ root, version })]),
    ])
  ).flat();
}

/**
 * @param {string} root
 * @param {string} product also its program
 * @param {(version: string) => Promise<Found[]>} make
 * @returns {Promise<Found[]>}
 */
async function found(root, product, make) {
  const where = root === '/' ? 'on this machine' : `in ${root}`;
  if (!programIn(root, product)) return [{ product, missing: `not installed ${where}` }];
  try {
    return await make(await versionOf(root, product));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return [{ product, missing: `does not work ${where}: ${reason}` }];
  }
}

/**
 * @param {string} root
 * @param {string} version
 * @returns {Promise<Found[]>}
 */
async function containerdVariants(root, version) {
  const features = readFeatures(await askProgram(root, ['containerd', 'config', 'default']));
  const helpers = /** @type {(keyof typeof HELPERS)[]} */ (Object.keys(HELPERS)).filter(
    (helper) =>
      HELPERS[helper].every((program) => programIn(root, program)) &&
      // containerd 2.0 was the first that knows igzip.
      (helper !== 'igzip' || features.configVersion >= 3),
  );
  /** @type {Found[]} */
  const variants = helpers.map((helper) =>
    containerd({ root, version, features, helper, snapshotter: 'overlayfs' }),
  );
  if (!features.erofs) return variants;
  if (!programIn(root, 'mkfs.erofs')) {
    variants.push({ product: 'containerd', missing: `no mkfs.erofs in ${root}` });
    return variants;
  }
  for (const helper of helpers.filter((name) => name !== 'pigz')) {
    variants.push(containerd({ root, version, features, helper, snapshotter: 'erofs' }));
  }
  return variants;
}

/** @returns {Promise<Found[]>} */
async function findTars() {
  const names = /** @type {(keyof typeof DECOMPRESSORS)[]} */ (Object.keys(DECOMPRESSORS));
  return Promise.all(
    names.map(async (decompressor) =>
      programIn('/', decompressor)
        ? tar({ decompressor, version: await versionOf('/', decompressor) })
        : { product: 'tar', missing: `${decompressor} is not installed on this machine` },
    ),
  );
}

/**
 * @param {string} root
 * @param {string} program
 */
async function versionOf(root, program) {
  const printed = await askProgram(root, [program, '--version']);
  const version = parseVersion(printed);
  if (!version)
    throw new Error(`"${program} --version" names no version: ${printed.slice(0, 200)}`);
  return version;
}

/**
 * A chroot may hold the versions that the machine has.
 * @param {readonly Found[]} found
 * @returns {Found[]}
 */
export function withUniqueNames(found) {
  /** @type {Set<string>} */
  const names = new Set();
  return found.map((one) => {
    if ('missing' in one) return one;
    if (!names.has(one.name)) {
      names.add(one.name);
      return one;
    }
    return { ...one, name: `${one.name}-peer-root`, title: `${one.title} (peer root)` };
  });
}

/** @param {(line: string) => void} say */
async function installPackages(say) {
  say('installing the peers of this machine (scripts/packages-bench.txt)');
  const child = spawn('sh', [SETUP, 'bench'], { stdio: ['ignore', 'inherit', 'inherit'] });
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject).once('close', resolve);
  });
  if (code !== 0) throw new Error('Cannot install the peers: scripts/setup.sh failed');
}
