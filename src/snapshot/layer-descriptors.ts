import { statfs } from 'node:fs/promises';
import type { LayerForm } from '../native.js';
import { closeQuietly, type LayerFiles } from './layer-files.js';

/** `f_type` of a mounted layer image. @see statfs(2) */
const EROFS_MAGIC = 0xe0f5e1e2;

/** Asks whoever may hold the mount of a layer since an earlier engine; the descriptor is the caller's. */
export type FindKeptMount = (key: string) => Promise<number | undefined>;

/**
 * Open descriptors of layers, one for each layer and process: page cache belongs to a mount's superblock, so all containers must share one mount,
 * also those of other processes. Numbers handed out stay valid until the layer is dropped or the store closed.
 */
export class LayerDescriptors {
  readonly #files: LayerFiles;
  readonly #findKeptMount: FindKeptMount;
  readonly #open = new Map<string, Promise<number>>();

  constructor(files: LayerFiles, findKeptMount: FindKeptMount) {
    this.#files = files;
    this.#findKeptMount = findKeptMount;
  }

  /** The descriptor under `key`, which names one making of a layer, opened on first use. A failure is not kept. */
  get(key: string, layer: { readonly path: string; readonly form: LayerForm }): Promise<number> {
    let opened = this.#open.get(key);
    if (opened === undefined) {
      opened = this.#openFirst(key, layer);
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

  async #openFirst(
    key: string,
    { path, form }: { readonly path: string; readonly form: LayerForm },
  ): Promise<number> {
    const kept = form === 'image' ? await this.#findKeptMount(key) : undefined;
    if (kept === undefined) return this.#files.open(path, form);
    if (await isLayerImage(kept)) return kept;
    await closeQuietly(kept);
    return this.#files.open(path, form);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open.keys()].map((key) => this.drop(key)));
  }
}

async function isLayerImage(fd: number): Promise<boolean> {
  return (await statfs(`/proc/self/fd/${fd}`)).type === EROFS_MAGIC;
}
