import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LayerForm } from '../../src/native.js';
import { FakeLayerCache } from '../fakes/layer-cache.js';
import { LayerRoot } from '../fixtures/layer-root.js';
import { describeLayerCache, type LayerCacheRig } from '../suites/layer-cache.js';

function openFake(): LayerCacheRig {
  const directory = mkdtempSync(join(tmpdir(), 'cais-layer-cache-'));
  const close = async () => rmSync(directory, { recursive: true });
  return { cache: new FakeLayerCache(), directory, close };
}

async function openStore(layerForm: LayerForm): Promise<LayerCacheRig> {
  const root = await LayerRoot.create({ layerForm });
  return { cache: root.store, directory: root.directory, close: () => root.remove() };
}

describeLayerCache('fake layer store', async () => openFake());
describeLayerCache('layer store in image form', () => openStore('image'));
describeLayerCache('layer store in directory form', () => openStore('directory'));
