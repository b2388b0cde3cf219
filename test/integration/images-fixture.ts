import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pack } from 'tar-stream';
import type { Keyring } from '../../src/auth/keyring.js';
import { type ConfigOptions, loadConfig } from '../../src/config.js';
import type { Digest } from '../../src/digest.js';
import { ImageService } from '../../src/image/images.js';
import { loadNative } from '../../src/native.js';
import { RecordStore } from '../../src/record-store.js';
import { LayerStore } from '../../src/snapshot/layer-store.js';

/** Image service over the real layer store, in a root of its own. */
export interface ImageRoot extends AsyncDisposable {
  readonly directory: string;
  readonly images: ImageService;
  readonly layers: LayerStore;
  readonly inUse: Set<Digest>;
}

export async function openImageRoot({
  keyring = { lookup: async () => [] },
  settings = {},
  parent = tmpdir(),
}: {
  keyring?: Keyring;
  settings?: ConfigOptions;
  /** The directory that the root is made in. */
  parent?: string;
} = {}): Promise<ImageRoot> {
  const directory = mkdtempSync(join(parent, 'cais-image-root-'));
  const native = loadNative();
  const config = loadConfig({ ...settings, root: directory, run: join(directory, 'run') });
  const records = RecordStore.open(join(directory, 'meta'));
  const layers = await LayerStore.open({ config, native, records });
  const inUse = new Set<Digest>();
  const images = await ImageService.open({
    config,
    native,
    records,
    layers,
    keyring,
    isInUse: (id) => inUse.has(id),
  });
  return {
    directory,
    images,
    layers,
    inUse,
    [Symbol.asyncDispose]: async () => {
      await images.close();
      await layers.close();
      await records.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** A tar with these files. */
export async function tarOf(files: Readonly<Record<string, string | Buffer>>): Promise<Buffer> {
  const tar = pack();
  for (const [name, content] of Object.entries(files))
    tar.entry({ name, mtime: new Date(1e12) }, content);
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

export function sha256(bytes: Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
