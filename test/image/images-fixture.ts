import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect } from 'vitest';
import type { Credential } from '../../src/auth/credential.js';
import { type ConfigOptions, loadConfig, statePaths } from '../../src/config.js';
import type { Digest } from '../../src/digest.js';
import { ImageService } from '../../src/image/images.js';
import { parsePlatform } from '../../src/image/platform.js';
import { loadNative } from '../../src/native.js';
import { RecordStore } from '../../src/record-store.js';
import { FakeLayerCache } from '../fakes/layer-cache.js';
import { FakeRegistry, type SeenRequest } from '../fakes/registry.js';

export const amd64 = parsePlatform('linux/amd64');

export let root: string;
export let registry: FakeRegistry;
export let records: RecordStore;
export let layers: FakeLayerCache;
export let images: ImageService;
export let inUse: Set<Digest>;
export let credentials: Credential[];

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'cais-images-'));
  registry = await FakeRegistry.start();
  records = RecordStore.open(join(root, 'meta'));
  layers = new FakeLayerCache();
  inUse = new Set();
  credentials = [];
  images = await openService();
});
afterEach(async () => {
  await images.close();
  await records.close();
  await registry.stop();
  rmSync(root, { recursive: true, force: true });
});

export function openService(settings: ConfigOptions = {}): Promise<ImageService> {
  return ImageService.open({
    config: loadConfig({ registryConfigDir: join(root, 'certs.d'), ...settings, root }),
    native: loadNative(),
    records,
    layers,
    keyring: { lookup: async () => credentials },
    isInUse: (id) => inUse.has(id),
    transport: { retryDelayMs: 1 },
  });
}

export const pull = (name: string, options = {}) =>
  images.pull(`${registry.host}/${name}`, { platform: amd64, ...options });
export const isBlob = (request: SeenRequest) => request.path.includes('/blobs/');
export const blobsOnDisk = () => readdirSync(join(root, 'blobs', 'sha256')).sort();
export const indexFile = () => JSON.parse(readFileSync(join(root, 'index.json'), 'utf8'));
export const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'no error',
    (error) => error.code ?? error.message,
  );

/** Nothing of a failed pull may be there. */
export function expectNothingLeft(): void {
  expect(images.list()).toEqual([]);
  expect(blobsOnDisk()).toEqual([]);
  expect([...layers.diffIds]).toEqual([]);
  expect(readdirSync(statePaths(loadConfig({ root })).ingest)).toEqual([]);
}
