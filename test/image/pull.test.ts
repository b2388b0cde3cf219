import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Credential } from '../../src/auth/credential.js';
import { type Digest, digestHex, digestOf } from '../../src/digest.js';
import { parsePlatform } from '../../src/image/platform.js';
import type { PullProgress } from '../../src/image/pull-progress.js';
import { FakeRegistry, guardByToken, OCI_INDEX, OCI_MANIFEST } from '../fakes/registry.js';
import {
  blobsOnDisk,
  codeOf,
  credentials,
  expectNothingLeft,
  images,
  indexFile,
  isBlob,
  layers,
  pull,
  registry,
  root,
} from './images-fixture.js';

describe('pull()', () => {
  it('stores manifest, config and layers, and then the record', async () => {
    const tars = [Buffer.from('one'), Buffer.from('two')];
    const {
      manifest,
      config,
      layers: descriptors,
    } = registry.addImage('p/app', {
      tag: 'v1',
      layers: tars,
      config: { config: { Env: ['A=b'], Cmd: ['sh'] } },
    });
    const image = await pull('p/app:v1');
    expect(image).toMatchObject({
      id: config.digest,
      names: [`${registry.host}/p/app:v1`],
      repoDigests: [`${registry.host}/p/app@${manifest.digest}`],
      manifestDigest: manifest.digest,
      platform: { os: 'linux', architecture: 'amd64' },
      config: { env: ['A=b'], cmd: ['sh'] },
      layers: tars.map((tar, i) => ({ digest: descriptors[i]?.digest, diffId: digestOf(tar) })),
    });
    expect(image.sizeBytes).toBe(
      config.size + descriptors.reduce((sum, { size }) => sum + size, 0),
    );
    const digests = [manifest, config, ...descriptors].map(({ digest }) =>
      digestHex(digest as Digest),
    );
    expect(blobsOnDisk()).toEqual(digests.sort());
    expect(images.list()).toEqual([image]);
    for (const name of [
      `${registry.host}/p/app:v1`,
      image.id,
      digestHex(image.id),
      digestHex(image.id).slice(0, 12),
      image.repoDigests[0] as string,
    ]) {
      expect(images.inspect(name)).toEqual(image);
    }
  });

  it('lists the image in index.json as an OCI image layout', async () => {
    const { manifest } = registry.addImage('p/app', { tag: 'v1' });
    await pull('p/app:v1');
    expect(JSON.parse(readFileSync(join(root, 'oci-layout'), 'utf8'))).toEqual({
      imageLayoutVersion: '1.0.0',
    });
    const name = `${registry.host}/p/app:v1`;
    expect(indexFile().manifests).toEqual([
      {
        ...manifest,
        annotations: {
          'org.opencontainers.image.ref.name': name,
          'io.containerd.image.name': name,
        },
      },
    ]);
  });

  it('takes the platform from an index, and names the index in the repository digest', async () => {
    const arm = registry.addImage('p/app', {
      layers: [Buffer.from('arm')],
      config: { architecture: 'arm64' },
    });
    const amd = registry.addImage('p/app', { layers: [Buffer.from('amd')] });
    const manifests = [
      { ...arm.manifest, platform: { os: 'linux', architecture: 'arm64' } },
      { ...amd.manifest, platform: { os: 'linux', architecture: 'amd64' } },
    ];
    const index = registry.addManifest('p/app', {
      tag: 'v1',
      document: { schemaVersion: 2, mediaType: OCI_INDEX, manifests },
      mediaType: OCI_INDEX,
    });
    const image = await pull('p/app:v1');
    expect(image.id).toBe(amd.config.digest);
    expect(image.repoDigests).toEqual([`${registry.host}/p/app@${index.digest}`]);
    expect(registry.seen(arm.manifest.digest)).toEqual([]);
    const arm64 = await pull('p/app:v1', { platform: parsePlatform('linux/arm64') });
    expect(arm64.id).toBe(arm.config.digest);
    expect(images.list()).toHaveLength(2);
    expect(await codeOf(pull('p/app:v1', { platform: parsePlatform('linux/s390x') }))).toBe(
      'NO_PLATFORM',
    );
  });

  it('finds an image in an index in an index, and one whose platform only its config tells', async () => {
    const arm = registry.addImage('p/app', {
      layers: [Buffer.from('arm')],
      config: { architecture: 'arm64' },
    });
    const amd = registry.addImage('p/app', { layers: [Buffer.from('amd')] });
    const document = {
      schemaVersion: 2,
      mediaType: OCI_INDEX,
      manifests: [arm.manifest, amd.manifest],
    };
    const inner = registry.addManifest('p/app', { document, mediaType: OCI_INDEX });
    registry.addManifest('p/app', {
      tag: 'v1',
      document: { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [inner] },
      mediaType: OCI_INDEX,
    });
    expect((await pull('p/app:v1')).id).toBe(amd.config.digest);
  });

  it('takes a single manifest whatever its platform', async () => {
    registry.addImage('p/app', { tag: 'v1', config: { architecture: 's390x' } });
    expect((await pull('p/app:v1')).platform.architecture).toBe('s390x');
  });

  it('by tag and digest asks for the digest alone, and records no tag', async () => {
    const { manifest } = registry.addImage('p/app');
    const image = await pull(`p/app:absent@${manifest.digest}`);
    expect(image.names).toEqual([]);
    expect(image.repoDigests).toEqual([`${registry.host}/p/app@${manifest.digest}`]);
    expect(images.inspect(`${registry.host}/p/app:other@${manifest.digest}`).id).toBe(image.id);
    expect(indexFile().manifests).toEqual([manifest]);
  });

  it('fetches nothing twice: a second pull asks for the tag only', async () => {
    registry.addImage('p/app', { tag: 'v1', layers: [Buffer.from('a'), Buffer.from('b')] });
    await pull('p/app:v1');
    registry.requests.length = 0;
    const events: PullProgress[] = [];
    await pull('p/app:v1', { onProgress: (event: PullProgress) => events.push(event) });
    expect(registry.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
      'HEAD /v2/p/app/manifests/v1',
    ]);
    expect(
      new Set(events.filter(({ phase }) => phase !== 'waiting').map(({ phase }) => phase)),
    ).toEqual(new Set(['exists']));
  });

  it('reports progress of each layer up to its size', async () => {
    const { layers: descriptors } = registry.addImage('p/app', {
      tag: 'v1',
      layers: [Buffer.alloc(300_000, 'x'), Buffer.from('b')],
    });
    const events: PullProgress[] = [];
    await pull('p/app:v1', { onProgress: (event: PullProgress) => events.push(event) });
    for (const { digest, size } of descriptors) {
      const phases = events.filter((event) => event.digest === digest);
      expect(phases[0]).toMatchObject({ phase: 'waiting', bytes: 0, totalBytes: size });
      expect(phases.at(-1)).toMatchObject({ phase: 'done', bytes: size });
    }
  });

  it('fetches several layers at once, but not all', async () => {
    registry.addImage('p/app', {
      tag: 'v1',
      layers: Array.from({ length: 12 }, (_, i) => Buffer.from(`layer ${i}`)),
    });
    await pull('p/app:v1');
    expect(layers.mostAtOnce).toBeGreaterThan(1);
    expect(layers.mostAtOnce).toBeLessThanOrEqual(4);
  });

  it('accepts the same blob twice in an image, and another compression of a layer it has', async () => {
    const same = Buffer.from('same');
    const { layers: descriptors } = registry.addImage('p/app', {
      tag: 'v1',
      layers: [same, Buffer.from('x'), same],
    });
    const image = await pull('p/app:v1');
    expect(image.layers).toHaveLength(3);
    expect(registry.seen(descriptors[0]?.digest as string)).toHaveLength(1);
    const plain = registry.addBlob(same, 'application/vnd.oci.image.layer.v1.tar');
    const config = registry.addBlob(
      { os: 'linux', architecture: 'amd64', rootfs: { diff_ids: [digestOf(same)] } },
      'application/vnd.oci.image.config.v1+json',
    );
    registry.addManifest('p/app', {
      tag: 'v2',
      document: { schemaVersion: 2, config, layers: [plain] },
      mediaType: OCI_MANIFEST,
    });
    await pull('p/app:v2');
    expect(blobsOnDisk()).toContain(digestHex(plain.digest));
  });

  it('fetches a foreign layer from its address, and from the registry when that fails', async () => {
    const tar = Buffer.from('foreign');
    const cdn = await FakeRegistry.start();
    const descriptor = cdn.addBlob(tar, 'application/vnd.docker.image.rootfs.foreign.diff.tar');
    const urls = [`http://${cdn.host}/v2/x/blobs/${descriptor.digest}`];
    const config = registry.addBlob(
      { os: 'linux', architecture: 'amd64', rootfs: { diff_ids: [descriptor.digest] } },
      'application/vnd.docker.container.image.v1+json',
    );
    registry.addManifest('p/app', {
      tag: 'v1',
      document: { schemaVersion: 2, config, layers: [{ ...descriptor, urls }] },
      mediaType: OCI_MANIFEST,
    });
    guardByToken(registry, { accepts: () => true });
    const image = await pull('p/app:v1', { credentials: [Credential.password('u', 'p', 'test')] });
    expect(cdn.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
    await images.remove(image.id);
    await cdn.stop();
    registry.addBlob(tar, 'x');
    expect((await pull('p/app:v1')).id).toBe(image.id);
  });

  it('tries credentials one after the other, and the right one wins', async () => {
    registry.addImage('p/app', { tag: 'v1' });
    guardByToken(registry, {
      accepts: (given) => given?.includes('right') === true || given === `Basic ${btoa('u:right')}`,
    });
    credentials.push(
      Credential.password('u', 'wrong', 'a'),
      Credential.password('u', 'right', 'b'),
    );
    await pull('p/app:v1');
    await images.remove(`${registry.host}/p/app:v1`);
    const wrong = await pull('p/app:v1', {
      credentials: [Credential.password('u', 'hunter2', 'a')],
    }).catch((error) => error);
    expect(wrong.code).toBe('UNAUTHORIZED');
    expect(wrong.message).toContain('Cannot pull "127.0.0.1');
    expect(wrong.message).not.toContain('hunter2');
  });

  it('shares the download of callers who want the same, with progress for each', async () => {
    registry.addImage('p/app', { tag: 'v1', layers: [Buffer.from('a'), Buffer.from('b')] });
    const events: PullProgress[][] = [[], []];
    const [first, second] = await Promise.all(
      events.map((list) =>
        pull('p/app:v1', { onProgress: (event: PullProgress) => list.push(event) }),
      ),
    );
    expect(first).toEqual(second);
    expect(registry.seen('/blobs/')).toHaveLength(3);
    for (const list of events) expect(list.filter(({ phase }) => phase === 'done')).toHaveLength(2);
  });

  it('goes on when one of two callers leaves, and ends with the last', async () => {
    registry.addImage('p/app', { tag: 'v1', layers: [Buffer.alloc(1000)] });
    const held: (() => void)[] = [];
    let reached: () => void;
    const isReached = new Promise<void>((resolve) => {
      reached = resolve;
    });
    registry.misbehaviours.push((request) => {
      if (!isBlob(request)) return false;
      reached();
      return new Promise((resolve) => held.push(() => resolve(false)));
    });
    const [one, two] = [new AbortController(), new AbortController()];
    const first = pull('p/app:v1', { signal: one.signal });
    const second = pull('p/app:v1', { signal: two.signal });
    await isReached;
    one.abort(new Error('first left'));
    await expect(first).rejects.toThrow('first left');
    two.abort(new Error('second left'));
    await expect(second).rejects.toThrow('second left');
    for (const release of held) release();
    expectNothingLeft();
    registry.misbehaviours.length = 0;
    expect((await pull('p/app:v1')).layers).toHaveLength(1);
  });
});

describe('a damaged blob', () => {
  it('is fetched again', async () => {
    const {
      layers: [layer],
      config,
    } = registry.addImage('p/app', { tag: 'v1' });
    await pull('p/app:v1');
    layers.diffIds.clear();
    for (const { digest, size } of [layer, config] as { digest: Digest; size: number }[]) {
      writeFileSync(join(root, 'blobs', 'sha256', digestHex(digest)), Buffer.alloc(size));
    }
    await pull('p/app:v1');
    expect(
      digestOf(readFileSync(join(root, 'blobs', 'sha256', digestHex(layer?.digest as Digest)))),
    ).toBe(layer?.digest);
  });
});

it('find() does not know an image that lost a layer, until it is pulled again', async () => {
  registry.addImage('p/a', { tag: '1' });
  const image = await pull('p/a:1');
  expect(images.find(image.id)).toEqual(image);
  layers.diffIds.clear();
  expect(images.find(image.id)).toBeUndefined();
  expect(await pull('p/a:1')).toEqual(image);
  expect(images.find(image.id)).toEqual(image);
});

it('a pull moves a tag to the new image; the old one stays under its digest', async () => {
  registry.addImage('p/a', { tag: '1', layers: [Buffer.from('old')] });
  const old = await pull('p/a:1');
  registry.addImage('p/a', { tag: '1', layers: [Buffer.from('new')] });
  const fresh = await pull('p/a:1');
  expect(images.inspect(`${registry.host}/p/a:1`).id).toBe(fresh.id);
  expect(images.inspect(old.id)).toMatchObject({ names: [], repoDigests: old.repoDigests });
  expect(indexFile().manifests).toHaveLength(2);
});
