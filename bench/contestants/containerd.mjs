import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { warmUpReference } from '../registry.mjs';
import { CONTAINER_CGROUP, removeContainerCgroups } from './container-cgroups.mjs';
import { containerdConfig } from './containerd-config.mjs';
import { DISK, enclosures } from './enclosure.mjs';
import { programIn } from './programs.mjs';

/** @typedef {import('../contract.js').Contestant} Contestant */
/** @typedef {import('../contract.js').RunPlace} RunPlace */
/** @typedef {import('./enclosure.mjs').Enclosure} Enclosure */
/** @typedef {import('./containerd-config.mjs').ContainerdFeatures} ContainerdFeatures */

/** Programs that containerd starts instead of its own Go code when it finds them on its PATH. */
export const HELPERS = { igzip: ['igzip'], pigz: ['unpigz', 'pigz'], go: [] };

const PROGRAMS = ['containerd', 'ctr', 'containerd-shim-runc-v2', 'runc', 'mkfs.erofs'];

/**
 * @typedef {object} ContainerdOptions
 * @property {string} root file system that it is installed in; `/` for the host's
 * @property {string} version
 * @property {ContainerdFeatures} features
 * @property {keyof typeof HELPERS} helper what decompresses gzip; zstd is always done by Go code
 * @property {'overlayfs' | 'erofs'} snapshotter
 */

/** The daemon's directory, and what its subdirectories are called, on the fresh disk. */
const ROOT = `${DISK}/containerd`;
const CONTENT = 'io.containerd.content.v1.content/blobs/sha256';
const GARBAGE_TIMEOUT_MS = 120_000;
const PLATFORM = `linux/${process.arch === 'arm64' ? 'arm64' : 'amd64'}`;

/**
 * containerd with a daemon and a store of its own for each run. The client is `ctr images pull`, which comes with it and goes
 * the way of the CRI in 2.x: the transfer service, which unpacks while it downloads. (In 1.6 ctr fetches all first, then unpacks.)
 * The registry is on 127.0.0.1, which containerd takes for plain http by itself; `--plain-http` makes that sure.
 * There is no question `extract`: `ctr images import` reads and ingests a tar of the layout, which is more work than extracting.
 * @param {ContainerdOptions} options
 * @returns {Contestant}
 */
export function containerd({ root, version, features, helper, snapshotter }) {
  const open = enclosures();
  const release = version.split('.').slice(0, 2).join('.');
  const how = [...(snapshotter === 'erofs' ? ['erofs'] : []), ...(helper === 'go' ? [] : [helper])];
  const path = `${DISK}/path`;
  /** @type {(place: RunPlace, command: readonly string[]) => ReturnType<Enclosure['run']>} */
  const ctr = (place, command) => open.of(place).run(['ctr', ...command], { path });
  const snapshots = join('containerd', `io.containerd.snapshotter.v1.${snapshotter}`, 'snapshots');
  const content = join('containerd', CONTENT);
  /** @type {(place: RunPlace, image: string) => ReturnType<Enclosure['run']>} */
  const pull = (place, image) => {
    const how = ['--plain-http', '--snapshotter', snapshotter, '--platform', PLATFORM];
    return ctr(place, ['images', 'pull', ...how, image]);
  };
  /** @type {(place: RunPlace, image: string) => Promise<void>} */
  const remove = async (place, image) => {
    await ctr(place, ['images', 'rm', '--sync', image]);
    await until(() =>
      [content, snapshots].every((name) => namesIn(join(place.directory, name)).length === 0),
    );
  };

  return {
    name: ['containerd', release, ...how].join('-'),
    title: `containerd ${release}, ${snapshotter === 'erofs' ? 'erofs snapshotter, ' : ''}${helper === 'go' ? 'Go alone' : helper}`,
    product: 'containerd',
    version,
    questions: ['pull'],
    // A helper has nothing to do with zstd: one of the variants stands for all.
    ...(helper === 'go' ? {} : { compressions: /** @type {const} */ (['gzip']) }),
    verifies: true,
    form: snapshotter === 'erofs' ? 'image' : 'directory',

    async prepare(place) {
      const enclosure = await open.open(place, root);
      mkdirSync(join(place.directory, 'containerd'));
      writePath(place, root, helper);
      writeFileSync(
        join(place.directory, 'containerd.toml'),
        containerdConfig({ features, snapshotter, root: ROOT, platform: PLATFORM }),
      );
      const daemon = await enclosure.daemon(['containerd', '--config', `${DISK}/containerd.toml`], {
        path,
      });
      await daemon.until(/containerd successfully booted/, 20_000);
      const image = warmUpReference(place.workload);
      await pull(place, image);
      await remove(place, image);
    },

    async execute(place) {
      const { seconds } = await pull(place, place.workload.reference);
      const unpacked = namesIn(join(place.directory, snapshots)).length;
      if (unpacked < place.workload.layers.length) {
        throw new Error(
          `containerd unpacked ${unpacked} of ${place.workload.layers.length} layers`,
        );
      }
      return seconds;
    },

    async tree(place, visit) {
      const view = `${DISK}/view`;
      const before = namesIn(join(place.directory, snapshots)).length;
      mkdirSync(join(place.directory, 'view'));
      await ctr(place, [
        'images',
        'mount',
        '--snapshotter',
        snapshotter,
        '--platform',
        PLATFORM,
        place.workload.reference,
        view,
      ]);
      try {
        await visit(open.of(place).outside(view));
      } finally {
        await ctr(place, ['images', 'unmount', '--rm', '--snapshotter', snapshotter, view]);
        // Its garbage collector removes the view's snapshot later; who looks at the disk next shall not meet it at work.
        await until(() => namesIn(join(place.directory, snapshots)).length <= before);
      }
    },

    async remove(place) {
      const started = performance.now();
      await remove(place, place.workload.reference);
      return (performance.now() - started) / 1000;
    },

    async firstStart(place) {
      // Without a cgroup path runc makes one of the container's name below the run's own, in place of `/default`, which would stay.
      const { seconds } = await ctr(place, [
        'run',
        '--rm',
        '--cgroup',
        '',
        '--snapshotter',
        snapshotter,
        place.workload.reference,
        CONTAINER_CGROUP,
        '/bin/true',
      ]);
      return seconds;
    },

    async cleanup(place) {
      await open.close(place);
      await removeContainerCgroups();
    },
  };
}

/**
 * A PATH with what containerd needs and no other decompressor than the variant's.
 * @param {RunPlace} place
 * @param {string} root
 * @param {keyof typeof HELPERS} helper
 */
function writePath(place, root, helper) {
  const directory = join(place.directory, 'path');
  mkdirSync(directory);
  for (const program of [...PROGRAMS, ...HELPERS[helper]]) {
    const path = programIn(root, program);
    if (path) symlinkSync(path, join(directory, program));
  }
}

/** @param {() => boolean} isDone */
async function until(isDone) {
  const deadline = performance.now() + GARBAGE_TIMEOUT_MS;
  while (!isDone()) {
    if (performance.now() > deadline) throw new Error('containerd did not remove what is unused');
    await sleep(2);
  }
}

/** @param {string} directory */
function namesIn(directory) {
  return existsSync(directory) ? readdirSync(directory) : [];
}
