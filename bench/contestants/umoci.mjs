import { join } from 'node:path';
import { DISK, enclosures, LAYOUT } from './enclosure.mjs';

/** @typedef {import('../contract.js').Contestant} Contestant */

/**
 * umoci, which unpacks an OCI layout into a directory. `raw unpack` leaves out the mtree manifest that `unpack` writes for a later
 * repack and that no runtime needs.
 * @param {object} options
 * @param {string} options.root file system that it is installed in; `/` for the host's
 * @param {string} options.version
 * @returns {Contestant}
 */
export function umoci({ root, version }) {
  const open = enclosures();
  const release = version.split('.').slice(0, 2).join('.');
  return {
    name: `umoci-${release}`,
    title: `umoci ${release}`,
    product: 'umoci',
    version,
    questions: ['extract'],
    // zstd came with 0.5.
    ...(Number(release) < 0.5 ? { compressions: /** @type {const} */ (['gzip']) } : {}),
    verifies: true,
    form: 'directory',
    slow: true,
    async prepare(place) {
      const enclosure = await open.open(place, root);
      // The program itself is to be in the page cache, as everything is.
      await enclosure.run(['umoci', '--version']);
    },
    async execute(place) {
      const command = ['umoci', 'raw', 'unpack', '--image', `${LAYOUT}:bench`, `${DISK}/rootfs`];
      return (await open.of(place).run(command)).seconds;
    },
    tree: (place, visit) => visit(join(place.directory, 'rootfs')),
    cleanup: (place) => open.close(place),
  };
}
