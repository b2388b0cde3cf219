import { createHash } from 'node:crypto';
import {
  createReadStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { benchCacheDirectory, publishDirectory } from './cache.mjs';
import { runCommand } from './command.mjs';
import {
  APP_PACKAGES,
  BIG_LAYERS,
  DEBIAN_VARIANT,
  SUITE,
  writeAppTars,
  writeBigTars,
  writeDebianTars,
} from './workload-content.mjs';

/**
 * @typedef {import('./contract.d.ts').Compression} Compression
 * @typedef {import('./contract.d.ts').Workload} Workload
 * @typedef {import('./contract.d.ts').WorkloadName} WorkloadName
 */

/**
 * One workload in the cache:
 *
 *     NAME/workload.json      this
 *     NAME/layer-0.tar …      the layers, lowest first
 *     NAME/gzip/ NAME/zstd/   OCI image layouts of the same image, tag `bench`
 * @typedef {object} StoredWorkload
 * @property {WorkloadName} name
 * @property {string} recipe what it was made from; made again when that changes
 * @property {number} entries
 * @property {number} tarBytes
 * @property {readonly StoredLayer[]} layers
 * @property {Readonly<Record<Compression, string>>} manifestDigests
 *
 * @typedef {object} StoredLayer
 * @property {string} tar file name
 * @property {number} tarBytes
 * @property {number} entries
 * @property {string} diffId
 * @property {Readonly<Record<Compression, { readonly digest: string, readonly size: number }>>} blobs
 */

/** @type {readonly WorkloadName[]} */
export const WORKLOAD_NAMES = ['debian', 'app', 'big'];
/** @type {readonly Compression[]} */
export const COMPRESSIONS = ['gzip', 'zstd'];

/** Tag of every image. */
export const TAG = 'bench';

/** Raised when the same recipe is to give something else. */
const RECIPE_VERSION = 1;

const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG_TYPE = 'application/vnd.oci.image.config.v1+json';
const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar';

/** @type {Readonly<Record<WorkloadName, { facts: unknown, writeTars: import('./workload-content.mjs').WriteTars }>>} */
const RECIPES = {
  debian: { facts: [SUITE, DEBIAN_VARIANT], writeTars: writeDebianTars },
  app: { facts: APP_PACKAGES, writeTars: writeAppTars },
  big: { facts: [SUITE, BIG_LAYERS], writeTars: writeBigTars },
};

/** @type {Readonly<Record<Compression, readonly [string, ...string[]]>>} */
const COMPRESSORS = {
  gzip: ['gzip', '-6', '-n', '-c'],
  zstd: ['zstd', '-3', '-T1', '-q', '-c'],
};

/** Names of processor architectures in the OCI image specification. */
const ARCHITECTURES = /** @type {Readonly<Record<string, string>>} */ ({ x64: 'amd64' });

/**
 * The workloads in the cache, made when they are not there (some minutes, with packages from Debian and npm). One for each name and compression,
 * in this order; `reference` is empty.
 * @param {object} [options]
 * @param {readonly WorkloadName[]} [options.names]
 * @param {readonly Compression[]} [options.compressions]
 * @param {(line: string) => void} [options.say] hears what takes time
 * @returns {Promise<Workload[]>}
 */
export async function prepareWorkloads(options = {}) {
  const { names = WORKLOAD_NAMES, compressions = COMPRESSIONS, say = () => {} } = options;
  /** @type {Workload[]} */
  const workloads = [];
  for (const name of names) {
    const directory = join(benchCacheDirectory(), 'workloads', name);
    const recipe = JSON.stringify([RECIPE_VERSION, process.arch, RECIPES[name].facts, COMPRESSORS]);
    let stored = readStored(directory);
    if (stored?.recipe !== recipe) {
      say(`making workload "${name}"`);
      await publishDirectory(directory, (path) => makeWorkload(path, { name, recipe, say }));
      stored = readStored(directory);
      if (stored === undefined) throw new Error(`Workload "${name}" was made but is not there`);
    }
    for (const compression of compressions) {
      workloads.push(describeWorkload(directory, { stored, compression }));
    }
  }
  return workloads;
}

/**
 * @param {string} directory
 * @returns {StoredWorkload | undefined}
 */
function readStored(directory) {
  const path = join(directory, 'workload.json');
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined;
}

/**
 * @param {string} directory
 * @param {{ stored: StoredWorkload, compression: Compression }} options
 * @returns {Workload}
 */
function describeWorkload(directory, { stored, compression }) {
  const layoutDirectory = join(directory, compression);
  return {
    name: stored.name,
    compression,
    layoutDirectory,
    reference: '',
    layers: stored.layers.map(({ tar, tarBytes, diffId, blobs }) => ({
      tarPath: join(directory, tar),
      tarBytes,
      diffId,
      blobPath: blobPath(layoutDirectory, blobs[compression].digest),
      blobBytes: blobs[compression].size,
      digest: blobs[compression].digest,
    })),
    manifestDigest: stored.manifestDigests[compression],
    entries: stored.entries,
    tarBytes: stored.tarBytes,
  };
}

/**
 * @param {string} directory
 * @param {{ name: WorkloadName, recipe: string, say: (line: string) => void }} options
 */
async function makeWorkload(directory, { name, recipe, say }) {
  const scratch = join(directory, 'scratch');
  mkdirSync(scratch);
  // The modes of what npm unpacks depend on it.
  const umask = process.umask(0o022);
  try {
    await RECIPES[name].writeTars(directory, scratch);
  } finally {
    process.umask(umask);
  }
  rmSync(scratch, { recursive: true });

  const tars = readdirSync(directory)
    .filter((file) => file.endsWith('.tar'))
    .sort();
  for (const compression of COMPRESSIONS) {
    mkdirSync(join(directory, compression, 'blobs/sha256'), { recursive: true });
  }
  say(`compressing workload "${name}"`);
  /** @type {StoredLayer[]} */
  const layers = [];
  for (const tar of tars) {
    const path = join(directory, tar);
    const [gzip, zstd, diffId, listing] = await Promise.all([
      compress(path, { compression: 'gzip', layoutDirectory: join(directory, 'gzip') }),
      compress(path, { compression: 'zstd', layoutDirectory: join(directory, 'zstd') }),
      digestFile(path),
      runCommand('tar', ['--list', '--quoting-style=escape', `--file=${path}`]),
    ]);
    const entries = listing.split('\n').length - 1;
    layers.push({
      tar,
      tarBytes: statSync(path).size,
      entries,
      diffId,
      blobs: { gzip, zstd },
    });
  }

  const diffIds = layers.map(({ diffId }) => diffId);
  /** @type {StoredWorkload} */
  const stored = {
    name,
    recipe,
    entries: layers.reduce((sum, layer) => sum + layer.entries, 0),
    tarBytes: layers.reduce((sum, layer) => sum + layer.tarBytes, 0),
    layers,
    manifestDigests: {
      gzip: writeLayout(join(directory, 'gzip'), { compression: 'gzip', layers, diffIds }),
      zstd: writeLayout(join(directory, 'zstd'), { compression: 'zstd', layers, diffIds }),
    },
  };
  writeFileSync(join(directory, 'workload.json'), `${JSON.stringify(stored, null, 2)}\n`);
}

/**
 * @param {string} tarPath
 * @param {{ compression: Compression, layoutDirectory: string }} options
 * @returns {Promise<{ digest: string, size: number }>}
 */
async function compress(tarPath, { compression, layoutDirectory }) {
  const [program, ...args] = COMPRESSORS[compression];
  const path = `${tarPath}.${compression}`;
  await runCommand(program, args, { stdinPath: tarPath, stdoutPath: path });
  const digest = await digestFile(path);
  renameSync(path, blobPath(layoutDirectory, digest));
  return { digest, size: statSync(blobPath(layoutDirectory, digest)).size };
}

/**
 * Everything of an OCI image layout but the layers, which are there. Returns the digest of the manifest.
 * @param {string} directory
 * @param {{ compression: Compression, layers: readonly StoredLayer[], diffIds: readonly string[] }} options
 * @see OCI image-spec v1.1, "Image Layout Specification"
 */
function writeLayout(directory, { compression, layers, diffIds }) {
  const created = '2026-01-01T00:00:00Z';
  const architecture = ARCHITECTURES[process.arch] ?? process.arch;
  const config = writeBlob(directory, {
    created,
    architecture,
    os: 'linux',
    config: { Cmd: ['/bin/true'], Env: ['PATH=/usr/bin:/bin'] },
    rootfs: { type: 'layers', diff_ids: diffIds },
    history: diffIds.map(() => ({ created, created_by: 'cais bench' })),
  });
  const manifest = writeBlob(directory, {
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: { mediaType: CONFIG_TYPE, ...config },
    layers: layers.map(({ blobs }) => ({
      mediaType: `${LAYER_TYPE}+${compression}`,
      ...blobs[compression],
    })),
  });
  writeFileSync(join(directory, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  writeFileSync(
    join(directory, 'index.json'),
    JSON.stringify({
      schemaVersion: 2,
      manifests: [
        {
          mediaType: MANIFEST_TYPE,
          ...manifest,
          platform: { architecture, os: 'linux' },
          annotations: { 'org.opencontainers.image.ref.name': TAG },
        },
      ],
    }),
  );
  return manifest.digest;
}

/**
 * @param {string} directory
 * @param {unknown} content
 */
function writeBlob(directory, content) {
  const bytes = Buffer.from(JSON.stringify(content));
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  writeFileSync(blobPath(directory, digest), bytes);
  return { digest, size: bytes.length };
}

/**
 * @param {string} layoutDirectory
 * @param {string} digest
 */
function blobPath(layoutDirectory, digest) {
  return join(layoutDirectory, 'blobs', ...digest.split(':'));
}

/** @param {string} path */
async function digestFile(path) {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 2 ** 20 }), hash);
  return `sha256:${hash.digest('hex')}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const names = WORKLOAD_NAMES.filter(
    (name) => process.argv.length === 2 || process.argv.includes(name),
  );
  for (const workload of await prepareWorkloads({ names, say: console.error })) {
    const { name, compression, layers, entries, tarBytes, manifestDigest } = workload;
    const blobBytes = layers.reduce((sum, layer) => sum + layer.blobBytes, 0);
    console.log(
      `${name} ${compression}: ${layers.length} layers, ${entries} entries, ${tarBytes} bytes of tar, ${blobBytes} compressed, ${manifestDigest}`,
    );
  }
}
