import { expect, it } from 'vitest';
import { loadConfig } from '../../src/config.js';
import { ImageService } from '../../src/image/images.js';
import { loadNative } from '../../src/native.js';
import type { Telemetry } from '../../src/telemetry.js';
import { amd64, layers, records, registry, root } from './images-fixture.js';

it('a pull is observed once for all callers, with the bytes that were fetched', async () => {
  const seen: unknown[] = [];
  let bytes = 0;
  const telemetry: Telemetry = {
    observe: (operation, { attributes }, action) => {
      seen.push([operation, attributes]);
      return action();
    },
    pulledBytes: (more) => {
      bytes += more;
    },
  };
  const service = await ImageService.open({
    config: loadConfig({ root, registryConfigDir: root }),
    native: loadNative(),
    records,
    layers,
    keyring: { lookup: async () => [] },
    isInUse: () => false,
    telemetry,
  });
  try {
    const { layers: stored } = registry.addImage('p/app', {
      tag: '1',
      layers: [Buffer.from('one'), Buffer.alloc(50_000, 'two')],
    });
    const name = `${registry.host}/p/app:1`;
    await Promise.all([1, 2].map(() => service.pull(name, { platform: amd64 })));
    expect(seen).toEqual([['image.pull', { image: name }]]);
    expect(bytes).toBe(stored.reduce((sum, { size }) => sum + size, 0));
    await service.pull(name, { platform: amd64 });
    expect(seen).toHaveLength(2);
    expect(bytes).toBe(stored.reduce((sum, { size }) => sum + size, 0));
  } finally {
    await service.close();
  }
});
