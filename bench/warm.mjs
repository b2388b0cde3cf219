import { open } from 'node:fs/promises';

/** @import { Workload } from './contract.js' */

const BUFFER_BYTES = 4 << 20;

/**
 * Reads everything that a run reads of a workload, so that it is in the page cache: the disk of the machine takes no part.
 * @param {Workload} workload
 */
export async function warmUp(workload) {
  const buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  for (const layer of workload.layers) {
    await readWhole(layer.blobPath, buffer);
    await readWhole(layer.tarPath, buffer);
  }
}

/** @param {string} path @param {Buffer} buffer */
async function readWhole(path, buffer) {
  const file = await open(path);
  try {
    let count = 1;
    while (count > 0) count = (await file.read(buffer, 0, buffer.length)).bytesRead;
  } finally {
    await file.close();
  }
}
