import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

/** Names of processor architectures in the OCI image specification. */
const ARCHITECTURES = /** @type {Readonly<Record<string, string>>} */ ({ x64: 'amd64' });

const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG_TYPE = 'application/vnd.oci.image.config.v1+json';
const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar';

/**
 * One layer: a tar, and how it is stored. `compress` is for formats that this module does not know.
 * @typedef {object} LayoutLayer
 * @property {Uint8Array} tar
 * @property {'gzip' | 'zstd' | 'none'} [compression] gzip by default
 * @property {Uint8Array} [compressed] the compressed bytes, where the compression is not gzip
 *
 * @typedef {object} LayoutOptions
 * @property {readonly LayoutLayer[]} layers lowest first
 * @property {Readonly<Record<string, unknown>>} [config] the `config` section of the image configuration: Cmd, Env, User, …
 * @property {string} [tag] `latest` by default
 * @property {string} [architecture] this machine's by default
 *
 * @typedef {object} Layout
 * @property {string} directory
 * @property {string} tag
 * @property {string} manifestDigest
 * @property {string} configDigest
 * @property {readonly string[]} layerDigests
 * @property {readonly string[]} diffIds
 */

/**
 * Writes an image as an OCI image layout (a directory with `oci-layout`, `index.json` and `blobs/`).
 * @param {string} directory made when absent
 * @param {LayoutOptions} options
 * @returns {Layout}
 * @see OCI image-spec v1.1, "Image Layout Specification"
 */
export function writeOciLayout(directory, options) {
  const { layers, config = {}, tag = 'latest' } = options;
  const architecture = options.architecture ?? ARCHITECTURES[process.arch] ?? process.arch;
  mkdirSync(join(directory, 'blobs/sha256'), { recursive: true });
  /** @type {(content: Uint8Array) => { digest: string, size: number }} */
  const writeBlob = (content) => {
    const digest = sha256(content);
    writeFileSync(blobPath(directory, digest), content);
    return { digest, size: content.length };
  };

  const layerDescriptors = layers.map((layer) => {
    const { compression = 'gzip' } = layer;
    const suffix = compression === 'none' ? '' : `+${compression}`;
    return { mediaType: `${LAYER_TYPE}${suffix}`, ...writeBlob(storedBytes(layer)) };
  });
  const diffIds = layers.map(({ tar }) => sha256(tar));
  const configDescriptor = {
    mediaType: CONFIG_TYPE,
    ...writeBlob(
      json({
        created: '2026-01-01T00:00:00Z',
        architecture,
        os: 'linux',
        config,
        rootfs: { type: 'layers', diff_ids: diffIds },
        history: layers.map(() => ({ created: '2026-01-01T00:00:00Z', created_by: 'cais' })),
      }),
    ),
  };
  const manifestDescriptor = {
    mediaType: MANIFEST_TYPE,
    ...writeBlob(
      json({
        schemaVersion: 2,
        mediaType: MANIFEST_TYPE,
        config: configDescriptor,
        layers: layerDescriptors,
      }),
    ),
  };
  writeFileSync(join(directory, 'oci-layout'), json({ imageLayoutVersion: '1.0.0' }));
  writeFileSync(
    join(directory, 'index.json'),
    json({
      schemaVersion: 2,
      manifests: [
        {
          ...manifestDescriptor,
          platform: { architecture, os: 'linux' },
          annotations: { 'org.opencontainers.image.ref.name': tag },
        },
      ],
    }),
  );
  return {
    directory,
    tag,
    manifestDigest: manifestDescriptor.digest,
    configDigest: configDescriptor.digest,
    layerDigests: layerDescriptors.map(({ digest }) => digest),
    diffIds,
  };
}

/**
 * Uploads the image of a layout to a registry by plain PUTs.
 * @param {Pick<Layout, 'directory' | 'manifestDigest' | 'configDigest' | 'layerDigests'>} layout
 * @param {object} target
 * @param {string} target.registryUrl `http://127.0.0.1:5000`
 * @param {string} target.repository
 * @param {string} [target.tag] `latest` by default
 * @param {string} [target.authorization] value of the Authorization header
 * @see OCI distribution-spec v1.1, "Push"
 */
export async function pushOciLayout(layout, target) {
  const base = `${target.registryUrl}/v2/${target.repository}`;
  const headers = target.authorization ? { authorization: target.authorization } : {};
  for (const digest of new Set([...layout.layerDigests, layout.configDigest])) {
    const started = await fetchChecked(`${base}/blobs/uploads/`, { method: 'POST', headers });
    const upload = new URL(started.headers.get('location') ?? '', target.registryUrl);
    upload.searchParams.set('digest', digest);
    await fetchChecked(upload, {
      method: 'PUT',
      headers: { ...headers, 'content-type': 'application/octet-stream' },
      body: readFileSync(blobPath(layout.directory, digest)),
    });
  }
  await fetchChecked(`${base}/manifests/${target.tag ?? 'latest'}`, {
    method: 'PUT',
    headers: { ...headers, 'content-type': MANIFEST_TYPE },
    body: readFileSync(blobPath(layout.directory, layout.manifestDigest)),
  });
}

/**
 * @param {string | URL} url
 * @param {RequestInit} init
 */
async function fetchChecked(url, init) {
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(60_000) });
  if (!response.ok) {
    throw new Error(
      `${init.method} ${url} answered ${response.status}: ${(await response.text()).slice(0, 1000)}`,
    );
  }
  return response;
}

/** @param {LayoutLayer} layer */
function storedBytes({ tar, compression = 'gzip', compressed }) {
  if (compressed) return compressed;
  if (compression === 'none') return tar;
  if (compression === 'gzip') return gzipSync(tar, { level: 6 });
  throw new Error(`A layer with compression "${compression}" needs its compressed bytes`);
}

/**
 * @param {string} directory
 * @param {string} digest
 */
function blobPath(directory, digest) {
  return join(directory, 'blobs', ...digest.split(':'));
}

/** @param {Uint8Array} content */
function sha256(content) {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`;
}

/** @param {unknown} value */
function json(value) {
  return Buffer.from(JSON.stringify(value));
}
