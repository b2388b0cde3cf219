import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Digest, digestHex, digestOf } from '../../src/digest.js';
import {
  blobsOnDisk,
  codeOf,
  expectNothingLeft,
  images,
  indexFile,
  inUse,
  isBlob,
  layers,
  openService,
  pull,
  registry,
  root,
} from './images-fixture.js';

describe('remove()', () => {
  it('by the last name removes the image with everything only it needs', async () => {
    const shared = Buffer.from('shared');
    registry.addImage('p/a', { tag: '1', layers: [shared, Buffer.from('a')] });
    const b = registry.addImage('p/b', { tag: '1', layers: [shared, Buffer.from('b')] });
    await pull('p/a:1');
    await pull('p/b:1');
    const { deleted, untagged } = await images.remove(`${registry.host}/p/a:1`);
    expect(deleted).toBeDefined();
    expect(untagged).toHaveLength(2);
    expect(images.find(`${registry.host}/p/a:1`)).toBeUndefined();
    const kept = [b.manifest, b.config, ...b.layers]
      .map(({ digest }) => digestHex(digest as Digest))
      .sort();
    expect(blobsOnDisk()).toEqual(kept);
    expect([...layers.diffIds].sort()).toEqual([digestOf(shared), digestOf('b')].sort());
    await images.remove(`${registry.host}/p/b:1`);
    expectNothingLeft();
    expect(indexFile().manifests).toEqual([]);
  });

  it('by one of two names removes the name', async () => {
    registry.addImage('p/a', { tag: '1' });
    registry.addImage('p/a', { tag: '2' });
    const image = await pull('p/a:1');
    await pull('p/a:2');
    expect(await images.remove(`${registry.host}/p/a:1`)).toEqual({
      untagged: [`${registry.host}/p/a:1`],
    });
    expect(images.inspect(image.id)).toMatchObject({
      names: [`${registry.host}/p/a:2`],
      repoDigests: image.repoDigests,
    });
  });

  it('by id removes all names', async () => {
    registry.addImage('p/a', { tag: '1' });
    registry.addImage('p/b', { tag: '2' });
    const image = await pull('p/a:1');
    await pull('p/b:2');
    await images.remove(digestHex(image.id).slice(0, 12));
    expectNothingLeft();
  });

  it('refuses while a container uses the image; by force the content stays until it does not', async () => {
    registry.addImage('p/a', { tag: '1' });
    const image = await pull('p/a:1');
    inUse.add(image.id);
    expect(await codeOf(images.remove(`${registry.host}/p/a:1`))).toBe('FAILED_PRECONDITION');
    await images.remove(`${registry.host}/p/a:1`, { force: true });
    expect(images.list()).toEqual([]);
    expect(images.inspect(image.id).layers).toHaveLength(1);
    expect(layers.diffIds.size).toBe(1);
    inUse.clear();
    await images.collect();
    expectNothingLeft();
  });

  it('says when there is no such image', async () => {
    expect(await codeOf(images.remove('absent'))).toBe('NOT_FOUND');
    expect(await codeOf(images.remove('deadbeef'))).toBe('NOT_FOUND');
    expect(await codeOf(images.remove('A B'))).toBe('INVALID_ARGUMENT');
  });

  it('never takes away what a pull in progress has found', async () => {
    const shared = Buffer.from('shared');
    registry.addImage('p/a', { tag: '1', layers: [shared] });
    registry.addImage('p/b', { tag: '1', layers: [shared, Buffer.from('slow')] });
    await pull('p/a:1');
    let release: (() => void) | undefined;
    const isHeld = new Promise<void>((held) => {
      registry.misbehaviours.push(async (request) => {
        if (!isBlob(request) || !request.path.includes(slowDigest)) return false;
        held();
        await new Promise<void>((resolve) => {
          release = resolve;
        });
        return false;
      });
    });
    const slowDigest =
      registry.addImage('p/b', { tag: '1', layers: [shared, Buffer.from('slow')] }).layers[1]
        ?.digest ?? '';
    const pulling = pull('p/b:1');
    await isHeld;
    // Another process: a service of its own over the same root.
    const other = await openService();
    await other.remove(`${registry.host}/p/a:1`);
    expect([...layers.diffIds]).toContain(digestOf(shared));
    release?.();
    const image = await pulling;
    for (const { digest } of image.layers)
      expect(existsSync(join(root, 'blobs', 'sha256', digestHex(digest)))).toBe(true);
    // The removal could not collect: the pull did when it ended.
    expect(blobsOnDisk()).toHaveLength(4);
    await other.close();
  });
});
