import { mkdir } from 'node:fs/promises';
import type { Config } from '../config.js';
import { UnsupportedError } from '../errors.js';
import type { LayerForm, NativeBinding, ProbeResult } from '../native.js';
import type { Collection } from '../record-store.js';
import { type LayerFiles, PROBE_NAME } from './layer-files.js';
import type { LayerLocks } from './layer-lock.js';
import { kernelIdentity } from './layer-record.js';

interface KeptProbe extends ProbeResult {
  readonly kernel: string;
}

/** What {@link tryImageForm} needs. */
export interface ImageFormParts {
  readonly files: LayerFiles;
  readonly locks: LayerLocks;
  readonly native: Pick<NativeBinding, 'probeLayerImage'>;
}

/** What {@link chooseLayerForm} needs. */
export interface LayerFormOptions extends ImageFormParts {
  readonly configured: Config['layerForm'];
  readonly kept: Collection<KeptProbe>;
}

/**
 * The form in which new layers are stored. Whether the kernel mounts images is tried out, not guessed from its version, and the answer kept for this
 * boot and kernel.
 * @throws UnsupportedError when the image form is demanded and the kernel refuses it.
 */
export async function chooseLayerForm(options: LayerFormOptions): Promise<LayerForm> {
  if (options.configured === 'directory') return 'directory';
  const { supported, reason } = await probe(options);
  if (supported) return 'image';
  if (options.configured === 'auto') return 'directory';
  throw new UnsupportedError(
    `This kernel cannot mount layer images (${reason}): set the configuration key "layerForm" to "auto" or "directory"`,
  );
}

/** Mounts a tiny layer image, beside the layers. What is left of that when this process dies goes with the next opening of the root. */
export function tryImageForm({ files, locks, native }: ImageFormParts): Promise<ProbeResult> {
  const directory = files.ingest(PROBE_NAME);
  return locks.hold(PROBE_NAME, {
    action: async () => {
      await files.removeNow(directory);
      await mkdir(directory, { mode: 0o700 });
      try {
        return await native.probeLayerImage(directory);
      } finally {
        await files.removeNow(directory);
      }
    },
  });
}

async function probe({ kept, ...parts }: LayerFormOptions): Promise<ProbeResult> {
  const kernel = kernelIdentity();
  const known = kept.get('layer-form');
  if (known?.kernel === kernel) return known;
  const found = await tryImageForm(parts);
  await kept.put('layer-form', { ...found, kernel });
  return found;
}
