import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { pushOciLayout, writeOciLayout } from '../scripts/oci-layout.mjs';

/** @import { Workload } from './contract.js' */

/**
 * Images as large as those of the workloads whose layers nobody has yet: before each layer's own entries comes one more file. It is compressed by itself
 * and put in front of the blob, since a gzip stream may have several members and a zstd stream several frames.
 * They are pushed to the registry of the workloads, unless it has them.
 * @param {readonly Workload[]} workloads with references
 * @param {number} copies of each workload
 * @returns {Promise<string[]>} references, `127.0.0.1:PORT/bench/app-gzip-variant-0:bench`
 */
export async function makeVariants(workloads, copies) {
  const references = [];
  for (let copy = 0; copy < copies; copy++) {
    for (const workload of workloads) {
      const [host = ''] = workload.reference.split('/');
      const repository = `bench/${workload.name}-${workload.compression}-variant-${copy}`;
      const label = createHash('sha256').update(`${workload.manifestDigest} ${copy}`).digest('hex');
      const tag = label.slice(0, 12);
      if (!(await isThere(`http://${host}/v2/${repository}/manifests/${tag}`))) {
        await pushVariant(workload, { label, host, repository, tag });
      }
      references.push(`${host}/${repository}:${tag}`);
    }
  }
  return references;
}

/** @param {string} url */
async function isThere(url) {
  const headers = { accept: 'application/vnd.oci.image.manifest.v1+json' };
  return (await fetch(url, { method: 'HEAD', headers })).ok;
}

/**
 * @param {Workload} workload
 * @param {{ readonly label: string, readonly host: string, readonly repository: string, readonly tag: string }} target
 */
async function pushVariant(workload, { label, host, repository, tag }) {
  const directory = mkdtempSync(join(tmpdir(), 'cais-bench-variant-'));
  try {
    const layers = [];
    for (const layer of workload.layers) {
      const entry = await oneFile(`variant-${label}`);
      const head = workload.compression === 'gzip' ? gzipSync(entry) : compressZstd(entry);
      layers.push({
        tar: Buffer.concat([entry, readFileSync(layer.tarPath)]),
        compression: workload.compression,
        compressed: Buffer.concat([head, readFileSync(layer.blobPath)]),
      });
    }
    const layout = writeOciLayout(directory, { layers, tag });
    await pushOciLayout(layout, { registryUrl: `http://${host}`, repository, tag });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * The start of a tar: a file, without the zeros that end a tar.
 * @param {string} name
 */
async function oneFile(name) {
  const tar = pack();
  tar.entry({ name, mtime: new Date(0) }, name);
  tar.finalize();
  const chunks = [];
  for await (const chunk of tar) chunks.push(/** @type {Buffer} */ (chunk));
  return Buffer.concat(chunks).subarray(0, 1024);
}

/** @param {Buffer} bytes */
function compressZstd(bytes) {
  return execFileSync('zstd', ['-q', '-3', '-c'], { input: bytes });
}
