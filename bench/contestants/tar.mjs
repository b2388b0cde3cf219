import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

/** @typedef {import('../contract.js').Contestant} Contestant */
/** @typedef {import('../contract.js').Compression} Compression */

/** Decompressors, and what they read. `-d -c` means the same to all of them. */
export const DECOMPRESSORS = /** @type {const} */ ({
  gzip: 'gzip',
  pigz: 'gzip',
  igzip: 'gzip',
  zstd: 'zstd',
});

/**
 * The pipe of two programs is the contestant itself. Layers come one after the other into one directory; whiteouts mean nothing to
 * tar, and the workloads have none. A decompressor that fails ends the stream early, which tar reports.
 */
const EXTRACT = `decompress=$1 directory=$2
shift 2
for blob in "$@"; do
  "$decompress" -d -c "$blob" |
    tar --extract --file=- --directory="$directory" --preserve-permissions --numeric-owner --xattrs || exit
done
`;

/**
 * tar behind a decompressor, of the host. It verifies nothing.
 * @param {object} options
 * @param {keyof typeof DECOMPRESSORS} options.decompressor
 * @param {string} options.version of the decompressor
 * @returns {Contestant}
 */
export function tar({ decompressor, version }) {
  return {
    name: `tar-${decompressor}`,
    title: `${decompressor} into tar`,
    product: 'tar',
    version,
    questions: ['extract'],
    compressions: [DECOMPRESSORS[decompressor]],
    verifies: false,
    form: 'directory',
    async prepare(place) {
      mkdirSync(join(place.directory, 'rootfs'));
    },
    async execute(place) {
      const blobs = place.workload.layers.map(({ blobPath }) => blobPath);
      const rootfs = join(place.directory, 'rootfs');
      const command = ['/bin/sh', '-c', EXTRACT, 'extract', decompressor, rootfs, ...blobs];
      return (await place.run(command)).seconds;
    },
    tree: (place, visit) => visit(join(place.directory, 'rootfs')),
    async cleanup() {},
  };
}
