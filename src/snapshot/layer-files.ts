import { randomBytes } from 'node:crypto';
import { close, constants, openSync } from 'node:fs';
import { access, chmod, mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { StatePaths } from '../config.js';
import { type Digest, digestHex } from '../digest.js';
import type { LayerForm, NativeBinding } from '../native.js';

/** open(2) O_PATH, which node does not name. The same on x86-64 and arm64. */
const O_PATH = 0o10000000;

/** Of the ingest in which the form of layers is tried out. */
export const PROBE_NAME = 'probe';

/** Names that the store gives to its directories in `<root>/ingest`; others there are not its own. */
const INGEST_NAME = /^((layer|early|mend)-[0-9a-f]{64}|probe)$/;

/** The files of stored layers: where they lie, how they are opened, how they go away. */
export class LayerFiles {
  readonly #paths: StatePaths;
  readonly #native: Pick<NativeBinding, 'mountLayerImage' | 'removeTree'>;
  readonly #deletions = new Set<Promise<void>>();

  constructor(paths: StatePaths, native: Pick<NativeBinding, 'mountLayerImage' | 'removeTree'>) {
    this.#paths = paths;
    this.#native = native;
  }

  /** Makes the directories of the store. */
  async prepare(): Promise<void> {
    for (const directory of [this.#paths.layers, this.#paths.mends, this.#paths.ingest]) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
    }
    // The lower layer of images without layers; what is in the root of an overlay shows its attributes.
    await mkdir(this.emptyLayer, { recursive: true });
    await chmod(this.emptyLayer, 0o755);
  }

  layer(diffId: Digest): string {
    return join(this.#paths.layers, digestHex(diffId));
  }

  mend(chainId: Digest): string {
    return join(this.#paths.mends, digestHex(chainId));
  }

  get emptyLayer(): string {
    return join(this.#paths.layers, '..', 'empty');
  }

  /** Private directory of one ingest. Who holds the lock of the same name owns it. */
  ingest(name: string): string {
    return join(this.#paths.ingest, name);
  }

  /** Names of ingests of this store that are under way, or were left by a process that died. */
  async listIngests(): Promise<string[]> {
    return (await readdir(this.#paths.ingest)).filter((name) => INGEST_NAME.test(name));
  }

  /** Hexadecimal names in the directory of layers. */
  async listLayers(): Promise<string[]> {
    return (await readdir(this.#paths.layers)).filter((name) => /^[0-9a-f]{64}$/.test(name));
  }

  /** A descriptor for overlayfs: a detached mount of an image, or the tree itself. The caller closes it. */
  async open(path: string, form: LayerForm): Promise<number> {
    if (form === 'image') return this.#native.mountLayerImage(path);
    return openSync(path, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  }

  /** Takes a file or tree away at once and deletes it in the background; absent is success. */
  async discard(path: string): Promise<void> {
    const aside = join(this.#paths.trash, `layer.${randomBytes(8).toString('hex')}`);
    try {
      await mkdir(this.#paths.trash, { recursive: true, mode: 0o700 });
      await rename(path, aside);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'ENOENT') return;
      if (code !== 'ENOSPC' && code !== 'EDQUOT') throw error;
      // A full disk may have no block for the new name; deleting in place needs none.
      await this.#native.removeTree(path);
      return;
    }
    const deletion = this.#native
      .removeTree(aside)
      // Nobody waits for it; the next collection of the trash tries again.
      .catch(() => undefined)
      .finally(() => this.#deletions.delete(deletion));
    this.#deletions.add(deletion);
  }

  /** Deletes a private directory and waits for it. Absent is success. */
  async removeNow(path: string): Promise<void> {
    await this.#native.removeTree(path);
  }

  /** Waits for the deletions under way. */
  async close(): Promise<void> {
    while (this.#deletions.size > 0) await Promise.all(this.#deletions);
  }
}

/** Whether something stands at `path`. */
export async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}

/**
 * Closes a descriptor; a failure has no meaning for one that was only looked at. On a thread: the last descriptor of a mount that is attached nowhere takes
 * the mount down, which takes the kernel up to 25 ms.
 */
export function closeQuietly(fd: number): Promise<void> {
  return new Promise((resolve) => close(fd, () => resolve()));
}
