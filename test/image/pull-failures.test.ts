import { describe, expect, it } from 'vitest';
import { type Digest, digestOf } from '../../src/digest.js';
import { OCI_INDEX, OCI_MANIFEST, refuse, times } from '../fakes/registry.js';
import { expectNothingLeft, isBlob, pull, registry } from './images-fixture.js';

const TAR_GZIP = 'application/vnd.oci.image.layer.v1.tar+gzip';

describe('pull() of something bad leaves nothing behind:', () => {
  /** A manifest with one layer, whose fields a test bends. */
  function publish(document: object, mediaType = OCI_MANIFEST): void {
    const good = registry.addImage('p/good');
    registry.addManifest('p/app', {
      tag: 'v1',
      document: { schemaVersion: 2, config: good.config, layers: good.layers, ...document },
      mediaType,
    });
  }
  const diffConfig = (diffIds: readonly string[]) =>
    registry.addBlob(
      { os: 'linux', architecture: 'amd64', rootfs: { diff_ids: diffIds } },
      'application/vnd.oci.image.config.v1+json',
    );

  it.each<[string, () => void, string]>([
    [
      'a wrong blob',
      () => {
        const {
          layers: [layer],
        } = registry.addImage('p/app', { tag: 'v1' });
        registry.blobs.set(layer?.digest as Digest, Buffer.alloc(layer?.size ?? 0));
      },
      'DIGEST_MISMATCH',
    ],
    [
      'a short blob',
      () => {
        const {
          layers: [layer],
        } = registry.addImage('p/app', { tag: 'v1' });
        registry.blobs.set(layer?.digest as Digest, Buffer.alloc(3));
      },
      'SIZE_MISMATCH',
    ],
    ['a wrong diff ID', () => publish({ config: diffConfig([digestOf('x')]) }), 'DIFF_ID_MISMATCH'],
    [
      'one of several layers bad',
      () => {
        const { layers: all } = registry.addImage('p/app', {
          tag: 'v1',
          layers: Array.from({ length: 8 }, (_, i) => Buffer.from(`${i}`)),
        });
        registry.blobs.set(all[5]?.digest as Digest, Buffer.alloc(all[5]?.size ?? 0));
      },
      'DIGEST_MISMATCH',
    ],
    ['too few diff IDs', () => publish({ config: diffConfig([]) }), 'BAD_MANIFEST'],
    [
      'an unknown layer type',
      () =>
        publish({
          layers: [
            { ...registry.addBlob(Buffer.from('x'), TAR_GZIP), mediaType: 'application/x-tar+lz4' },
          ],
        }),
      'UNSUPPORTED_MEDIA_TYPE',
    ],
    [
      'an artifact',
      () => publish({ config: registry.addBlob({}, 'application/vnd.oci.empty.v1+json') }),
      'UNSUPPORTED_MEDIA_TYPE',
    ],
    [
      'a config that is no JSON',
      () =>
        publish({
          config: registry.addBlob(Buffer.from('no'), 'application/vnd.oci.image.config.v1+json'),
        }),
      'BAD_MANIFEST',
    ],
    [
      'a huge config',
      () => publish({ config: { ...registry.addBlob({}, ''), size: 9 * 2 ** 20 } }),
      'BAD_MANIFEST',
    ],
    ['type confusion', () => publish({ manifests: [] }), 'BAD_MANIFEST'],
    [
      'schema 1',
      () =>
        registry.addManifest('p/app', {
          tag: 'v1',
          document: { schemaVersion: 1, fsLayers: [] },
          mediaType: 'application/vnd.docker.distribution.manifest.v1+json',
        }),
      'UNSUPPORTED_MEDIA_TYPE',
    ],
    ['an unknown tag', () => undefined, 'NOT_FOUND'],
    [
      'more layers than the kernel mounts',
      () => {
        const {
          layers: [layer],
        } = registry.addImage('p/x');
        publish({
          layers: new Array(501).fill(layer),
          config: diffConfig(new Array(501).fill(digestOf('layer'))),
        });
      },
      'UNSUPPORTED_MEDIA_TYPE',
    ],
    [
      'a registry that fails in the middle',
      () => {
        registry.addImage('p/app', { tag: 'v1' });
        registry.misbehaviours.push(
          times(99, isBlob, (response) => refuse(response, 500, 'UNKNOWN')),
        );
      },
      'UNAVAILABLE',
    ],
    [
      'a blob that is cut for ever',
      () => {
        registry.addImage('p/app', { tag: 'v1' });
        registry.misbehaviours.push(times(99, isBlob, (response) => response.socket?.destroy()));
      },
      'UNAVAILABLE',
    ],
  ])('%s', async (_name, arrange, code) => {
    arrange();
    const error = await pull('p/app:v1').catch((reason) => reason);
    expect(error.code).toBe(code);
    expect(error.message).toContain(`Cannot pull "${registry.host}/p/app:v1"`);
    expectNothingLeft();
  });

  it('nested indexes without end', async () => {
    let entry = registry.addManifest('p/app', {
      document: { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [] },
      mediaType: OCI_INDEX,
    });
    for (let i = 0; i < 6; i++) {
      entry = registry.addManifest('p/app', {
        tag: 'v1',
        document: { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [entry] },
        mediaType: OCI_INDEX,
      });
    }
    await expect(pull('p/app:v1')).rejects.toThrow('nested deeper');
    expectNothingLeft();
  });
});
