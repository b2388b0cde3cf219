import { randomBytes } from 'node:crypto';
import { mkdir, symlink, unlink } from 'node:fs/promises';
import { join, relative } from 'node:path';

/**
 * Short links to directory-form layers, `<root>/l/<five letters>`: on kernels without `lowerdir+` all layers of a container must fit into one page of
 * mount options, so their names there must be short.
 */
export class LayerLinks {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Makes a link to `target` and returns its name. */
  async create(target: string): Promise<string> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    for (;;) {
      const name = randomBytes(4).readUInt32LE().toString(36).padStart(5, '0').slice(-5);
      try {
        await symlink(relative(this.#directory, target), join(this.#directory, name));
        return name;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
    }
  }

  /** Absent is success. */
  async remove(name: string): Promise<void> {
    try {
      await unlink(join(this.#directory, name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}
