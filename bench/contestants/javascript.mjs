import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import zlib from 'node:zlib';

/** @typedef {import('../contract.js').Contestant} Contestant */
/** @typedef {import('../contract.js').RunPlace} RunPlace */
/** @typedef {import('./javascript-worker.mjs').Task} Task */

const WORKER = fileURLToPath(new URL('javascript-worker.mjs', import.meta.url));

/**
 * What one writes with Node's own streams and an npm package for tar: zlib, crypto, tar-stream, fs/promises. The program is a Node
 * process of its own, whose start counts, as that of every contestant's client does.
 * @returns {Contestant}
 */
export function javascript() {
  return {
    name: 'javascript',
    title: `JavaScript: zlib, crypto, tar-stream (Node ${process.versions.node})`,
    product: 'javascript',
    version: process.versions.node,
    questions: ['extract', 'pull'],
    ...('createZstdDecompress' in zlib ? {} : { compressions: /** @type {const} */ (['gzip']) }),
    verifies: true,
    form: 'directory',
    slow: true,
    async prepare(place) {
      mkdirSync(join(place.directory, 'rootfs'));
      writeFileSync(join(place.directory, 'task.json'), JSON.stringify(taskOf(place)));
    },
    async execute(place) {
      const command = [process.execPath, WORKER, join(place.directory, 'task.json')];
      return (await place.run(command)).seconds;
    },
    tree: (place, visit) => visit(join(place.directory, 'rootfs')),
    async cleanup() {},
  };
}

/**
 * @param {RunPlace} place
 * @returns {Task}
 */
function taskOf({ directory, question, workload }) {
  return {
    directory: join(directory, 'rootfs'),
    ...(question === 'pull'
      ? { reference: workload.reference }
      : {
          layers: workload.layers.map(({ blobPath, digest, diffId }) => ({
            source: blobPath,
            digest,
            diffId,
            compression: workload.compression,
          })),
        }),
  };
}
