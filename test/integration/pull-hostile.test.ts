import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Digest, digestOf } from '../../src/digest.js';
import { parsePlatform } from '../../src/image/platform.js';
import { FakeRegistry, OCI_MANIFEST, type SeenRequest, times } from '../fakes/registry.js';
import { expectNoLeaks } from '../fixtures/leak-check.js';
import { type ImageRoot, openImageRoot, tarOf } from './images-fixture.js';

const GZIP = 'application/vnd.oci.image.layer.v1.tar+gzip';
const platform = parsePlatform('linux/amd64');
const isBlob = (request: SeenRequest) => request.path.includes('/blobs/');

let registry: FakeRegistry;
let root: ImageRoot;
let tar: Buffer;

beforeEach(async () => {
  registry = await FakeRegistry.start();
  root = await openImageRoot();
  tar = await tarOf({
    'etc/a': 'a',
    big: Buffer.from(Array.from({ length: 2_000_000 }, (_, i) => (i * i) % 251)),
  });
});
afterEach(async () => {
  await root[Symbol.asyncDispose]();
  await registry.stop();
});

/** An image of one good layer and one whose blob and diff ID are these. */
function publish(blob: Buffer, diffId: Digest = digestOf(tar)): Digest {
  const good = Buffer.alloc(1024);
  const goodLayer = registry.addBlob(gzipSync(good), GZIP);
  const layer = registry.addBlob(blob, GZIP);
  const config = registry.addBlob(
    { os: 'linux', architecture: 'amd64', rootfs: { diff_ids: [digestOf(good), diffId] } },
    'application/vnd.oci.image.config.v1+json',
  );
  registry.addManifest('p/app', {
    tag: 'v1',
    document: { schemaVersion: 2, config, layers: [goodLayer, layer] },
    mediaType: OCI_MANIFEST,
  });
  return layer.digest;
}

const pull = (options = {}) =>
  root.images.pull(`${registry.host}/p/app:v1`, { platform, ...options });

async function expectNothingLeft(): Promise<void> {
  expect(root.images.list()).toEqual([]);
  expect(root.layers.list()).toEqual([]);
  expect(readdirSync(join(root.directory, 'blobs/sha256'))).toEqual([]);
  expect(readdirSync(join(root.directory, 'layers/sha256'))).toEqual([]);
  await expectNoLeaks({ root: root.directory });
}

describe('a pull that the native pipeline refuses leaves nothing behind:', () => {
  it.each<[string, (gzip: Buffer) => { blob: Buffer; diffId?: Digest }, string]>([
    ['another diff ID', (blob) => ({ blob, diffId: digestOf('x') }), 'DIFF_ID_MISMATCH'],
    [
      'a truncated gzip stream',
      (gzip) => ({ blob: gzip.subarray(0, gzip.length - 100) }),
      'TRUNCATED',
    ],
    [
      'bytes behind the gzip stream',
      (gzip) => ({ blob: Buffer.concat([gzip, Buffer.from('trailing')]) }),
      'TRAILING_DATA',
    ],
    [
      'no tar',
      () => ({
        blob: gzipSync('no tar at all'.repeat(100)),
        diffId: digestOf('no tar at all'.repeat(100)),
      }),
      'BAD_TAR',
    ],
  ])('%s', async (_name, make, code) => {
    const { blob, diffId } = make(gzipSync(tar));
    const digest = publish(blob, diffId);
    const error = await pull().catch((reason) => reason);
    expect(error.code).toBe(code);
    expect(error.message).toContain(`Cannot pull "${registry.host}/p/app:v1": layer ${digest}`);
    await expectNothingLeft();
  });

  it('bytes that are not those of the digest', async () => {
    const digest = publish(gzipSync(tar));
    const bytes = Buffer.from(registry.blobs.get(digest) as Buffer);
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    registry.blobs.set(digest, bytes);
    expect(await pull().catch((reason) => reason.code)).toMatch(
      /DIGEST_MISMATCH|BAD_COMPRESSION|TRUNCATED/,
    );
    await expectNothingLeft();
  });

  it('a connection that breaks again and again', async () => {
    const digest = publish(gzipSync(tar));
    registry.misbehaviours.push(
      times(
        99,
        ({ path }) => path.includes(digest),
        (response) => {
          response.writeHead(200, {
            'content-length': (registry.blobs.get(digest) as Buffer).length,
          });
          response.flushHeaders();
          response.socket?.end();
        },
      ),
    );
    const error = await pull().catch((reason) => reason);
    expect(error.code).toBe('UNAVAILABLE');
    expect(error.message).toContain(
      `Cannot pull "${registry.host}/p/app:v1": layer ${digest}: the connection to ${registry.host} broke 3 times at byte 0`,
    );
    await expectNothingLeft();
  });

  it('a signal in the middle of a layer', async () => {
    const digest = publish(gzipSync(tar));
    const controller = new AbortController();
    registry.misbehaviours.push(
      times(
        1,
        ({ path }) => path.includes(digest),
        (response) => {
          const blob = registry.blobs.get(digest) as Buffer;
          response.writeHead(200, { 'content-length': blob.length });
          response.write(blob.subarray(0, 1000), () => controller.abort(new Error('enough')));
        },
      ),
    );
    await expect(pull({ signal: controller.signal })).rejects.toThrow('enough');
    await expectNothingLeft();
  });
});

it('a layer whose connection breaks is resumed and still verified', async () => {
  const digest = publish(gzipSync(tar, { level: 0 }));
  const blob = registry.blobs.get(digest) as Buffer;
  registry.misbehaviours.push(
    times(
      1,
      ({ path }) => path.includes(digest),
      (response) => {
        response.writeHead(200, { 'content-length': blob.length });
        response.write(blob.subarray(0, 1_000_000), () => response.socket?.end());
      },
    ),
  );
  const image = await pull();
  expect(registry.seen(digest).map(({ headers }) => headers.range)).toEqual([
    undefined,
    'bytes=1000000-',
  ]);
  for (const { diffId } of image.layers)
    expect(await root.layers.verify(diffId)).not.toBe('damaged');
});

it('pulls and removals of the same images at once end in complete images or none', async () => {
  publish(gzipSync(tar));
  const name = `${registry.host}/p/app:v1`;
  const rounds = Array.from({ length: 6 }, async (_, i) => {
    if (i % 2 === 0) await pull();
    else await root.images.remove(name).catch((error) => expect(error.code).toBe('NOT_FOUND'));
  });
  await Promise.all(rounds);
  const image = root.images.list()[0];
  if (image !== undefined) {
    expect(root.images.find(name)?.id).toBe(image.id);
    const blobs = readdirSync(join(root.directory, 'blobs/sha256'));
    for (const { digest } of image.layers) expect(blobs).toContain(digest.slice('sha256:'.length));
    await root.images.remove(image.id);
  }
  await root.images.collect();
  await expectNothingLeft();
  expect(registry.requests.some(isBlob)).toBe(true);
});
