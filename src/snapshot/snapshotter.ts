import { randomBytes } from 'node:crypto';
import { fstatSync } from 'node:fs';
import { chmod, chown, mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { statePaths } from '../config.js';
import type { Digest } from '../digest.js';
import { InvalidArgumentError } from '../errors.js';
import type { NativeBinding, OverlayLower, TreeUsage } from '../native.js';

/** A layer below a container. */
export interface LowerLayer extends OverlayLower {
  /** Names the mount for every engine of this root; absent: the layer is a directory, which needs no sharing. */
  readonly mountKey?: string;
}

/** A mount of a layer under its name. */
export interface SharedMount {
  readonly key: string;
  /** Stays the layer store's. */
  readonly fd: number;
}

/** Where the layers below a container come from: `LayerStore`. */
export interface LowerLayers {
  /**
   * Everything below the writable layer of this chain, lowest first, the mending layer included. The descriptors stay the store's.
   * @throws NotFoundError when a layer of the chain is not stored.
   */
  lowerOf(chain: readonly Digest[]): Promise<readonly LowerLayer[]>;
}

export interface SnapshotterOptions {
  readonly root: string;
  readonly run: string;
  readonly native: Pick<NativeBinding, 'mountOverlay' | 'removeTree' | 'treeUsage'>;
  readonly layers: LowerLayers;
  readonly supervisorPath: string;
}

export interface PrepareOptions {
  /** An overlay without a writable layer: no directory is made. */
  readonly readOnly?: boolean;
  /** The ids of a pod's own user namespace; absent: the machine's. */
  readonly ids?: MappedIds;
}

/** Layers are seen through the maps of a user namespace; what a container writes has the machine's ids from the start. */
export interface MappedIds {
  /** The namespace, open for the length of the call. */
  readonly userNamespaceFd: number;
  /** The machine's id of its root; uids and gids are mapped alike. */
  readonly hostId: number;
  readonly length: number;
}

/**
 * Writable layers of containers: `<root>/active/<container>/{upper,work}`, and the overlay of one on the layers of its image, which exists only as
 * a descriptor. Directories above `upper` are 0700, so that nobody on the host reaches a setuid file of an image (CVE-2021-41103).
 */
export class Snapshotter {
  readonly #options: SnapshotterOptions;
  readonly #active: string;
  readonly #trash: string;
  readonly #deletions = new Set<Promise<void>>();

  constructor(options: SnapshotterOptions) {
    this.#options = options;
    const paths = statePaths(options);
    this.#active = paths.active;
    this.#trash = paths.trash;
  }

  /**
   * Makes the container's writable layer unless it exists, and mounts it over `chain` as a detached mount. The descriptor is the caller's; the
   * directories stay until {@link remove}, also when mounting fails.
   * @throws NativeError `TOO_MANY_LAYERS`, or an errno name.
   */
  async prepare(
    containerId: string,
    chain: readonly Digest[],
    options: PrepareOptions = {},
  ): Promise<number> {
    const lower = await this.#options.layers.lowerOf(chain);
    const { ids } = options;
    const upper =
      options.readOnly === true ? {} : { upper: await this.#writable(containerId, lower, ids) };
    return this.#options.native.mountOverlay({
      lower,
      ...upper,
      volatile: false,
      ...(ids === undefined ? {} : { userNamespaceFd: ids.userNamespaceFd }),
      linkDirectory: statePaths(this.#options).links,
      supervisorPath: this.#options.supervisorPath,
    });
  }

  /** The mounts below a container that engines of this root share: page cache belongs to a mount's superblock. */
  async sharedMounts(chain: readonly Digest[]): Promise<SharedMount[]> {
    const lower = await this.#options.layers.lowerOf(chain);
    return lower.flatMap(({ fd, mountKey }) =>
      mountKey === undefined ? [] : [{ key: mountKey, fd }],
    );
  }

  /** Removes the writable layer; absent is success. The tree is moved aside at once and deleted in the background. */
  async remove(containerId: string): Promise<void> {
    const directory = this.#directoryOf(containerId);
    const aside = join(this.#trash, `${containerId}.${randomBytes(4).toString('hex')}`);
    try {
      await mkdir(this.#trash, { recursive: true, mode: 0o700 });
      await rename(directory, aside);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'ENOENT') return;
      if (code !== 'ENOSPC' && code !== 'EDQUOT') throw error;
      // A full disk may have no block for the new name; deleting in place needs none.
      await this.#options.native.removeTree(directory);
      return;
    }
    this.#deleteLater(aside);
  }

  /** Disk use of the writable layer alone. @throws NativeError `ENOENT` when there is none. */
  usage(containerId: string): Promise<TreeUsage> {
    return this.#options.native.treeUsage(join(this.#directoryOf(containerId), 'upper'));
  }

  /** Ids of containers that have a writable layer. */
  list(): Promise<string[]> {
    return listDirectoryOrNothing(this.#active);
  }

  /**
   * Removes writable layers of which `isLive` says no, and what an earlier process left in the trash. The records are asked after the directories are
   * listed: a container's record exists before its directory does.
   */
  async collect(isLive: (containerId: string) => boolean): Promise<void> {
    for (const id of await this.list()) if (!isLive(id)) await this.remove(id);
    for (const name of await listDirectoryOrNothing(this.#trash)) {
      this.#deleteLater(join(this.#trash, name));
    }
  }

  /** Waits for the deletions under way. What could not be deleted stays in the trash for the next collection. */
  async close(): Promise<void> {
    while (this.#deletions.size > 0) await Promise.all(this.#deletions);
  }

  async #writable(
    containerId: string,
    lower: readonly OverlayLower[],
    ids: MappedIds | undefined,
  ): Promise<{ upperDirectory: string; workDirectory: string }> {
    const directory = this.#directoryOf(containerId);
    const upperDirectory = join(directory, 'upper');
    const workDirectory = join(directory, 'work');
    const top = lower.at(-1);
    if (top === undefined) throw new InvalidArgumentError('A snapshot needs at least one layer');
    // The root directory of an overlay shows owner and mode of its upper layer, which must be those of the image.
    const { mode, uid, gid } = fstatSync(top.fd);
    await mkdir(this.#active, { recursive: true, mode: 0o700 });
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await mkdir(workDirectory, { recursive: true, mode: 0o700 });
    try {
      await mkdir(upperDirectory);
      await chown(upperDirectory, mapped(uid, ids), mapped(gid, ids));
      // Not by mkdir: the umask would take bits away.
      await chmod(upperDirectory, mode & 0o7777);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    return { upperDirectory, workDirectory };
  }

  #directoryOf(containerId: string): string {
    // Ids are ours, but this one becomes a path that is deleted.
    if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/.test(containerId)) {
      throw new InvalidArgumentError(`Invalid container id ${JSON.stringify(containerId)}`);
    }
    return join(this.#active, containerId);
  }

  #deleteLater(path: string): void {
    const deletion = this.#options.native
      .removeTree(path)
      // Nobody waits for it; the next collection tries again.
      .catch(() => undefined)
      .finally(() => this.#deletions.delete(deletion));
    this.#deletions.add(deletion);
  }
}

/** An id that the namespace does not have becomes its root's: the directory would belong to nobody. */
function mapped(id: number, ids: MappedIds | undefined): number {
  if (ids === undefined) return id;
  return id < ids.length ? ids.hostId + id : ids.hostId;
}

async function listDirectoryOrNothing(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
