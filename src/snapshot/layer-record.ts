import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import type { Digest } from '../digest.js';
import type { LayerForm } from '../native.js';

/** Version of what cais writes into a layer image, as in its head (native/layer/image_head.h). A layer of another version is made again from its blob. */
export const LAYER_FORMAT_VERSION = 2;

/** One stored layer. */
export interface LayerRecord {
  readonly diffId: Digest;
  /** Of the compressed bytes from which it was made. */
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Where those bytes are stored. */
  readonly blobPath: string;
  readonly form: LayerForm;
  readonly formatVersion: number;
  readonly tarBytes: number;
  /** Allocated bytes of the layer itself. */
  readonly layerBytes: number;
  readonly entries: number;
  /** Directories that the layer needs but does not list; raw bytes as base64, parents first. */
  readonly impliedDirectories: readonly string[];
  /** Boot in which it was written. */
  readonly bootId: string;
  /** Whether it has reached the disk. False and another boot: not to be trusted. */
  readonly synced: boolean;
  /** Tells two makings of one layer apart. */
  readonly generation: string;
  /** Name of its short link, directory form only; see `OverlayOptions.linkDirectory`. */
  readonly link?: string;
}

/** What a chain needs on top so that implied directories look as in the layers below; see ARCHITECTURE section 6. */
export interface MendRecord {
  /** Chain ID. */
  readonly id: Digest;
  readonly chain: readonly Digest[];
  /** False: nothing had to be mended and there is no file. */
  readonly written: boolean;
  /** Layers of the chain below this index are hidden by an opaque root. */
  readonly firstVisible: number;
  readonly form: LayerForm;
  readonly formatVersion: number;
  readonly layerBytes: number;
  readonly bootId: string;
  readonly synced: boolean;
  readonly generation: string;
  readonly link?: string;
}

/** Identity of this boot of the machine. @see random(4), "/proc/sys/kernel/random/boot_id" */
export function readBootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

/** Names the running kernel on this boot: answers of the kernel may be kept for as long as it stays the same. */
export function kernelIdentity(): string {
  return `${readBootId()} ${release()}`;
}
