import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { CONTAINER_CGROUP, removeContainerCgroups } from './container-cgroups.mjs';
import { DISK, enclosures, LAYOUT } from './enclosure.mjs';

/** @typedef {import('../contract.js').Contestant} Contestant */
/** @typedef {import('../contract.js').RunPlace} RunPlace */

/**
 * podman with a store of its own for each run; it has no daemon. It copies from the registry or from the OCI layout by the same code.
 * @param {object} options
 * @param {string} options.root file system that it is installed in; `/` for the host's
 * @param {string} options.version
 * @returns {Contestant}
 */
export function podman({ root, version }) {
  const open = enclosures();
  const release = version.split('.').slice(0, 2).join('.');
  const global = [
    'podman',
    '--root',
    `${DISK}/podman/root`,
    '--runroot',
    `${DISK}/podman/run`,
    '--tmpdir',
    '/run/libpod',
    '--storage-driver',
    'overlay',
    '--cgroup-manager',
    'cgroupfs',
    '--events-backend',
    'none',
  ];
  /** @type {(place: RunPlace, command: readonly string[]) => ReturnType<RunPlace['run']>} */
  const run = (place, command) =>
    open.of(place).run([...global, ...command], { env: { PODMAN_IGNORE_CGROUPSV1_WARNING: '1' } });
  /** @type {(place: RunPlace) => Promise<string>} */
  const imageId = async (place) => {
    const [id] = (await run(place, ['images', '--quiet', '--no-trunc'])).stdout.split('\n');
    if (!id) throw new Error('podman lists no image');
    return id;
  };

  return {
    name: `podman-${release}`,
    title: `podman ${release}`,
    product: 'podman',
    version,
    questions: ['extract', 'pull'],
    verifies: true,
    form: 'directory',

    async prepare(place) {
      await open.open(place, root);
      mkdirSync(join(place.directory, 'podman'));
      // Makes its directories and databases, as the first command on a machine does.
      await run(place, ['info']);
    },

    async execute(place) {
      const { question, workload } = place;
      const source =
        question === 'extract' ? `oci:${LAYOUT}:bench` : `docker://${workload.reference}`;
      return (await run(place, ['pull', '--quiet', '--tls-verify=false', source])).seconds;
    },

    async tree(place, visit) {
      const id = await imageId(place);
      const mounted = (await run(place, ['image', 'mount', id])).stdout.trim();
      try {
        await visit(open.of(place).outside(mounted));
      } finally {
        await run(place, ['image', 'unmount', id]);
      }
    },

    async remove(place) {
      const id = await imageId(place);
      return (await run(place, ['rmi', id])).seconds;
    },

    async firstStart(place) {
      const id = await imageId(place);
      // runc, since crun refuses machines with both versions of cgroups; it knows no start without a cgroup. The hard limits of this
      // process may be lower than those that podman asks for by default, which it then may not set.
      const command = ['--runtime=runc', 'run', '--rm', '--network=none', '--pull=never'];
      const limits = [
        '--ulimit=nofile=4096:4096',
        '--ulimit=nproc=4096:4096',
        '--cgroups=no-conmon',
        `--cgroup-parent=/${CONTAINER_CGROUP}`,
      ];
      try {
        return (await run(place, [...command, ...limits, id, '/bin/true'])).seconds;
      } finally {
        // runc removes the container's own cgroup and leaves its parent.
        await removeContainerCgroups();
      }
    },

    async cleanup(place) {
      await open.close(place);
      await removeContainerCgroups();
    },
  };
}
