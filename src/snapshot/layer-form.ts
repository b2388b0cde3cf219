import type { Config } from '../config.js';
import { UnsupportedError } from '../errors.js';
import type { LayerForm, NativeBinding, ProbeResult } from '../native.js';
import type { Collection } from '../record-store.js';
import { kernelIdentity } from './layer-record.js';

interface KeptProbe extends ProbeResult {
  readonly kernel: string;
}

/** What {@link chooseLayerForm} needs. */
export interface LayerFormOptions {
  readonly configured: Config['layerForm'];
  /** An existing directory on the file system of the layers. */
  readonly directory: string;
  readonly native: Pick<NativeBinding, 'probeLayerImage'>;
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

async function probe({ directory, native, kept }: LayerFormOptions): Promise<ProbeResult> {
  const kernel = kernelIdentity();
  const known = kept.get('layer-form');
  if (known?.kernel === kernel) return known;
  const found = await native.probeLayerImage(directory);
  await kept.put('layer-form', { ...found, kernel });
  return found;
}
