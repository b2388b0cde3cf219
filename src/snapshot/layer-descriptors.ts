import type { LayerForm } from '../native.js';
import { closeQuietly, type LayerFiles } from './layer-files.js';

/**
 * Open descriptors of layers, one for each layer and process: page cache belongs to a mount's superblock, so all containers must share one mount.
 * Numbers handed out stay valid until the layer is dropped or the store closed.
 */
export class LayerDescriptors {
  readonly #files: LayerFiles;
  readonly #open = new Map<string, Promise<number>>();

  constructor(files: LayerFiles) {
    this.#files = files;
  }

  /** The descriptor under `key`, opened on first use. A failure is not kept. */
  get(key: string, layer: { readonly path: string; readonly form: LayerForm }): Promise<number> {
    let opened = this.#open.get(key);
    if (opened === undefined) {
      opened = this.#files.open(layer.path, layer.form);
      this.#open.set(key, opened);
      opened.catch(() => this.#open.delete(key));
    }
    return opened;
  }

  /** Closes one; absent is success. */
  async drop(key: string): Promise<void> {
    const opened = this.#open.get(key);
    this.#open.delete(key);
    if (opened === undefined) return;
    const fd = await opened.catch(() => undefined);
    if (fd !== undefined) await closeQuietly(fd);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open.keys()].map((key) => this.drop(key)));
  }
}
