import { mkdtempSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadNative } from '../../src/native.js';
import { failureOf } from '../fixtures/layer-job.js';
import { LayerRoot } from '../fixtures/layer-root.js';
import { type LayerEntry, makeLayerTar } from '../fixtures/layer-tar.js';

describe('buildMendLayer()', () => {
  let root: LayerRoot;
  beforeEach(async () => {
    root = await LayerRoot.create({ layerForm: 'image' });
  });
  afterEach(() => root.remove());

  async function mend(layers: readonly LayerEntry[][], maxSteps: number) {
    const chain = [];
    for (const entries of layers) {
      const diffId = await root.ingest(await makeLayerTar(entries));
      const implied = root.store.get(diffId)?.impliedDirectories ?? [];
      chain.push({
        fd: await root.store.descriptor(diffId),
        impliedDirectories: implied.map((name) => Buffer.from(name, 'base64')),
      });
    }
    const directory = mkdtempSync(join(root.directory, 'mend-'));
    const built = loadNative().buildMendLayer({
      form: 'image',
      directory,
      layers: chain,
      maxSteps,
    });
    return { built, directory };
  }

  const implying = (layer: number) =>
    Array.from({ length: 50 }, (_, i) => ({ name: `d${i}/e/f/own-${layer}` }));

  test.each<[string, LayerEntry[][]]>([
    ['that many layers imply', [0, 1, 2, 3].map(implying)],
    [
      'below links of lower layers',
      [
        Array.from({ length: 50 }, (_, i) => ({
          name: `d${i}`,
          type: 'symlink' as const,
          linkname: 'real',
        })),
        implying(1),
      ],
    ],
  ])('refuses work without end for directories %s, and writes nothing', async (_, layers) => {
    const { built, directory } = await mend(layers, 1000);
    expect(await failureOf(built)).toMatch(/^LIMIT_EXCEEDED: .*1000 steps.*"maxSteps"/);
    expect(readdirSync(directory)).toEqual([]);
    await (await mend(layers, 100_000)).built;
  });
});
