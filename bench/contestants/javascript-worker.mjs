import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, readFileSync } from 'node:fs';
import {
  chmod,
  chown,
  lchown,
  link,
  lutimes,
  mkdir,
  rm,
  symlink,
  unlink,
  utimes,
} from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { extract } from 'tar-stream';

/**
 * @typedef {object} TaskLayer
 * @property {string} source path or URL of the blob
 * @property {string} digest
 * @property {string} diffId
 * @property {'gzip' | 'zstd'} compression
 *
 * @typedef {object} Task
 * @property {string} directory where the tree goes
 * @property {string} [reference] `host/repository:tag`: asks the registry
 * @property {readonly TaskLayer[]} [layers] without a reference
 */

/** @typedef {import('tar-stream').Header} Header */

/**
 * @typedef {object} Manifest
 * @property {{ digest: string }} config
 * @property {{ digest: string, mediaType: string }[]} layers
 */

const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';

/** @type {Task} */
const task = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8'));
const layers = task.reference ? await resolveLayers(task.reference) : (task.layers ?? []);
for (const layer of layers) await unpack(layer, task.directory);

/**
 * @param {string} reference
 * @returns {Promise<TaskLayer[]>}
 */
async function resolveLayers(reference) {
  const [, host, repository, tag] = /^([^/]+)\/(.+):([^:]+)$/.exec(reference) ?? [];
  const base = `http://${host}/v2/${repository}`;
  const answer = await request(`${base}/manifests/${tag}`, { accept: MANIFEST_TYPE });
  const manifest = /** @type {Manifest} */ (await answer.json());
  const configBytes = Buffer.from(
    await (await request(`${base}/blobs/${manifest.config.digest}`)).arrayBuffer(),
  );
  check('configuration', sha256(configBytes), manifest.config.digest);
  const config = JSON.parse(configBytes.toString());
  return manifest.layers.map(({ digest, mediaType }, index) => ({
    source: `${base}/blobs/${digest}`,
    digest,
    diffId: config.rootfs.diff_ids[index],
    compression: mediaType.endsWith('+zstd') ? 'zstd' : 'gzip',
  }));
}

/**
 * @param {TaskLayer} layer
 * @param {string} directory
 */
async function unpack(layer, directory) {
  const ofBlob = createHash('sha256');
  const ofTar = createHash('sha256');
  /** @type {{ path: string, mtime: Date }[]} */
  const directories = [];
  const untar = extract();
  const writing = (async () => {
    for await (const entry of untar) {
      // streamx's streams are meant to pass for Node's, but their types do not say so.
      const content = /** @type {Readable} */ (/** @type {unknown} */ (entry));
      await createEntry(content, entry.header, directory, directories);
      entry.resume();
    }
  })();
  await Promise.all([
    pipeline(
      await openSource(layer.source),
      through(ofBlob),
      createDecompress(layer.compression),
      through(ofTar),
      untar,
    ),
    writing,
  ]);
  // Creating entries in a directory changes its time.
  for (const { path, mtime } of directories.reverse()) await utimes(path, mtime, mtime);
  check('blob', `sha256:${ofBlob.digest('hex')}`, layer.digest);
  check('tar', `sha256:${ofTar.digest('hex')}`, layer.diffId);
}

/**
 * @param {Readable} content
 * @param {Header} header
 * @param {string} root
 * @param {{ path: string, mtime: Date }[]} directories
 */
async function createEntry(content, header, root, directories) {
  const { uid, gid, mode, mtime } = header;
  const path = inside(root, header.name);
  if (header.type === 'link') {
    await replacing(path, () => link(inside(root, header.linkname), path));
    return;
  }
  if (header.type === 'symlink') {
    await replacing(path, () => symlink(header.linkname, path));
    await lchown(path, uid, gid);
    await lutimes(path, mtime, mtime);
    return;
  }
  if (header.type === 'directory') {
    await mkdir(path, { recursive: true });
    directories.push({ path, mtime });
  } else if (header.type === 'file' || header.type === 'contiguous-file') {
    await pipeline(content, createWriteStream(path));
  } else {
    await replacing(path, () => makeNode(path, header));
  }
  await chown(path, uid, gid);
  await chmod(path, mode);
  if (header.type !== 'directory') await utimes(path, mtime, mtime);
}

/**
 * Node has no call for devices and FIFOs; images hold next to none.
 * @param {string} path
 * @param {Header} header
 */
async function makeNode(path, { type, devmajor, devminor }) {
  const kinds = /** @type {Readonly<Record<string, string[]>>} */ ({
    'character-device': ['c', String(devmajor), String(devminor)],
    'block-device': ['b', String(devmajor), String(devminor)],
    fifo: ['p'],
  });
  const kind = kinds[type];
  if (!kind) throw new Error(`Cannot create an entry of type "${type}"`);
  await promisify(execFile)('mknod', [path, ...kind]);
}

/**
 * @param {string} path
 * @param {() => Promise<void>} create
 */
async function replacing(path, create) {
  try {
    await create();
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    await unlink(path).catch(() => rm(path, { recursive: true }));
    await create();
  }
}

/**
 * @param {string} root
 * @param {string} name
 */
function inside(root, name) {
  const path = resolve(join(root, name));
  if (path !== root && !path.startsWith(root + sep)) {
    throw new Error(`Cannot create "${name}": outside the root`);
  }
  return path;
}

/** @param {import('node:crypto').Hash} hash */
function through(hash) {
  return new Transform({
    transform(chunk, _encoding, callback) {
      hash.update(chunk);
      callback(null, chunk);
    },
  });
}

/** @param {string} source */
async function openSource(source) {
  if (!source.startsWith('http://')) return createReadStream(source);
  const { body } = await request(source);
  if (!body) throw new Error(`Cannot get ${source}: no body`);
  return Readable.fromWeb(/** @type {import('node:stream/web').ReadableStream} */ (body));
}

/**
 * @param {string} url
 * @param {Record<string, string>} [headers]
 */
async function request(url, headers = {}) {
  const response = await fetch(url, { headers });
  if (!response.ok) throw new Error(`Cannot get ${url}: the registry answered ${response.status}`);
  return response;
}

/** @param {'gzip' | 'zstd'} compression */
function createDecompress(compression) {
  if (compression === 'gzip') return zlib.createGunzip();
  if ('createZstdDecompress' in zlib && typeof zlib.createZstdDecompress === 'function') {
    return /** @type {import('node:stream').Duplex} */ (zlib.createZstdDecompress());
  }
  throw new Error(`Node ${process.versions.node} has no zstd`);
}

/** @param {Uint8Array} bytes */
function sha256(bytes) {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/**
 * @param {string} what
 * @param {string} actual
 * @param {string} expected
 */
function check(what, actual, expected) {
  if (actual !== expected) throw new Error(`The ${what} is ${actual}, not ${expected}`);
}
