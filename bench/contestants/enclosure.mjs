import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

/** @typedef {import('../contract.js').RunPlace} RunPlace */
/** @typedef {import('../contract.js').RunResult} RunResult */

/** Where the run's fresh disk and the workload's OCI layout appear inside; Debian has both directories, empty. */
export const DISK = '/mnt';
export const LAYOUT = '/media';

/**
 * Makes the view in a mount namespace of its own and stays in it until its standard input ends, so that others can be started
 * there. The root is bound read-only: whatever a peer writes goes to the fresh disk or to a tmpfs that ends with the namespace.
 * Parameters: root, directory of the fresh disk, OCI layout, new root, directory for temporary files on the fresh disk.
 */
const ENCLOSE = `set -e
view=$4
if [ "$1" = / ]; then
  mount --rbind / "$view"
else
  mount --bind "$1" "$view"
  mount --rbind /proc "$view/proc"
  mount --rbind /sys "$view/sys"
  mount --rbind /dev "$view/dev"
fi
mount -o remount,bind,ro "$view"
mount --bind "$2" "$view${DISK}"
mount --bind "$3" "$view${LAYOUT}"
mount -o remount,bind,ro "$view${LAYOUT}"
mount --bind "$5" "$view/tmp"
mount --bind "$5" "$view/var/tmp"
mount -t tmpfs -o mode=755 tmpfs "$view/run"
exec chroot "$view" /bin/sh -c 'echo "enclosed $$"; exec cat'
`;

const USUAL_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * A peer's surroundings for one run: the host's file system or another one as root, in a private mount namespace, so that no mount,
 * no socket and no state of a peer outlives the run's processes.
 * @typedef {object} Enclosure
 * @property {(command: readonly string[], options?: EnclosureOptions) => Promise<RunResult>} run
 * @property {(command: readonly string[], options?: EnclosureOptions) => ReturnType<RunPlace['daemon']>} daemon
 * @property {(path: string) => string} outside the host's path for an absolute path of the inside, mounts of the inside included
 * @property {() => Promise<void>} close
 *
 * @typedef {object} EnclosureOptions
 * @property {string} [path] PATH
 * @property {Readonly<Record<string, string>>} [env] beside PATH, HOME and TMPDIR
 * @property {number} [timeoutMs]
 */

/**
 * @param {RunPlace} place
 * @param {string} root `/` for the host's own programs
 * @returns {Promise<Enclosure>}
 */
export async function openEnclosure(place, root) {
  const view = join(place.directory, 'enclosure');
  const temporary = join(place.directory, 'tmp');
  mkdirSync(view);
  mkdirSync(temporary, { mode: 0o1777 });
  const holder = await place.daemon([
    'unshare',
    '--mount',
    '--propagation',
    'private',
    '/bin/sh',
    '-c',
    ENCLOSE,
    'enclose',
    root,
    place.directory,
    place.workload.layoutDirectory,
    view,
    temporary,
  ]);
  const said = /^enclosed (\d+)$/m;
  await holder.until(said, 10_000);
  const pid = said.exec(holder.log())?.[1] ?? String(holder.pid);
  // Entering costs 2 ms, which the timed commands bear; a namespace made anew for each would cost ten times that.
  /** @type {(command: readonly string[], options: EnclosureOptions) => string[]} */
  const enter = (command, { path = USUAL_PATH, env = {} }) => [
    'nsenter',
    `--target=${pid}`,
    '--mount',
    '--root',
    '--wd',
    '/usr/bin/env',
    '-i',
    `PATH=${path}`,
    'HOME=/root',
    'TMPDIR=/var/tmp',
    ...Object.entries(env).map(([name, value]) => `${name}=${value}`),
    ...command,
  ];
  /** @type {(options: EnclosureOptions) => { timeoutMs?: number }} */
  const limits = ({ timeoutMs }) => (timeoutMs === undefined ? {} : { timeoutMs });
  return {
    run: (command, options = {}) => place.run(enter(command, options), limits(options)),
    daemon: (command, options = {}) => place.daemon(enter(command, options), limits(options)),
    outside: (path) => `/proc/${pid}/root${path}`,
    close: () => holder.stop(),
  };
}

/** One enclosure for each run that is going on, for contestants whose functions share nothing but the place. */
export function enclosures() {
  /** @type {Map<RunPlace, Enclosure>} */
  const open = new Map();
  return {
    /** @param {RunPlace} place @param {string} root */
    async open(place, root) {
      const enclosure = await openEnclosure(place, root);
      open.set(place, enclosure);
      return enclosure;
    },
    /** @param {RunPlace} place */
    of(place) {
      const enclosure = open.get(place);
      if (!enclosure) throw new Error('This run is not prepared');
      return enclosure;
    },
    /** @param {RunPlace} place */
    async close(place) {
      const enclosure = open.get(place);
      open.delete(place);
      await enclosure?.close();
    },
  };
}
