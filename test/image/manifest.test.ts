import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseImageConfig } from '../../src/image/image-config.js';
import {
  MAX_MANIFEST_BYTES,
  ManifestError,
  parseManifestDocument,
} from '../../src/image/manifest.js';

const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json';
const digest = `sha256:${'a'.repeat(64)}`;
const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest, size: 3 };
const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size: 9 };

function parse(document: unknown, declaredType?: string) {
  return parseManifestDocument(Buffer.from(JSON.stringify(document)), declaredType);
}

describe('parseManifestDocument()', () => {
  it.each([OCI_MANIFEST, DOCKER_MANIFEST])('reads a manifest of type %s', (mediaType) => {
    const manifest = parse({ schemaVersion: 2, mediaType, config, layers: [layer] }, mediaType);
    expect(manifest).toMatchObject({
      kind: 'manifest',
      mediaType,
      layers: [{ digest, sizeBytes: 9 }],
    });
  });

  it.each([OCI_INDEX, DOCKER_LIST])('reads an index of type %s', (mediaType) => {
    const platform = { os: 'linux', architecture: 'arm', variant: 'v7' };
    const manifests = [
      { mediaType: OCI_MANIFEST, digest, size: 1, platform },
      { digest, size: 2 },
    ];
    const index = parse({ schemaVersion: 2, manifests }, mediaType);
    expect(index).toMatchObject({
      kind: 'index',
      mediaType,
      entries: [{ platform }, { sizeBytes: 2 }],
    });
  });

  it('finds the kind of an OCI document that nobody labelled', () => {
    expect(parse({ schemaVersion: 2, config, layers: [] }, 'application/json').kind).toBe(
      'manifest',
    );
    expect(parse({ schemaVersion: 2, manifests: [] }, 'text/plain; charset=utf-8').kind).toBe(
      'index',
    );
  });

  it.each<[string, unknown, string | undefined, string]>([
    [
      'a manifest with manifests',
      { schemaVersion: 2, mediaType: OCI_MANIFEST, config, layers: [], manifests: [] },
      undefined,
      'with the field "manifests"',
    ],
    [
      'an index with layers',
      { schemaVersion: 2, manifests: [], layers: [] },
      OCI_INDEX,
      'with the field "layers"',
    ],
    [
      'an index with a config',
      { schemaVersion: 2, manifests: [], config },
      OCI_INDEX,
      'with the field "config"',
    ],
    [
      'a document announced as another kind',
      { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [] },
      OCI_MANIFEST,
      'was announced as',
    ],
    [
      'an ambiguous document',
      { schemaVersion: 2, config, layers: [], manifests: [] },
      undefined,
      'with the field "manifests"',
    ],
    [
      'schema 1 by type',
      { schemaVersion: 1 },
      'application/vnd.docker.distribution.manifest.v1+prettyjws',
      'schema 1 is not supported',
    ],
    [
      'schema 1 by content',
      { schemaVersion: 2, fsLayers: [] },
      OCI_MANIFEST,
      'schema 1 is not supported',
    ],
    [
      'another schema version',
      { schemaVersion: 3, config, layers: [] },
      OCI_MANIFEST,
      'expected schemaVersion 2',
    ],
    [
      'an unknown type',
      { schemaVersion: 2, mediaType: 'application/x' },
      undefined,
      'Unknown manifest media type "application/x"',
    ],
    [
      'no type at all',
      { schemaVersion: 2 },
      'text/html',
      'Unknown manifest media type "text/html"',
    ],
    [
      'a digest that is a path',
      { schemaVersion: 2, config: { ...config, digest: 'sha256:../../x' }, layers: [] },
      OCI_MANIFEST,
      'no sha256 digest',
    ],
    [
      'a negative size',
      { schemaVersion: 2, config: { ...config, size: -1 }, layers: [] },
      OCI_MANIFEST,
      'has the size -1',
    ],
    ['no config', { schemaVersion: 2, layers: [] }, OCI_MANIFEST, 'config is no object'],
    [
      'layers that are no list',
      { schemaVersion: 2, config, layers: {} },
      OCI_MANIFEST,
      'is no list',
    ],
    [
      'too many entries',
      { schemaVersion: 2, manifests: new Array(10_001).fill(0) },
      OCI_INDEX,
      'more than 10000',
    ],
    ['a list', [], OCI_INDEX, 'no JSON object'],
  ])('refuses %s', (_name, document, declaredType, message) => {
    expect(() => parse(document, declaredType)).toThrow(message);
  });

  it('refuses what is too large or no UTF-8 JSON', () => {
    expect(() => parseManifestDocument(Buffer.alloc(MAX_MANIFEST_BYTES + 1), OCI_INDEX)).toThrow(
      'limit',
    );
    expect(() => parseManifestDocument(Buffer.from([0x22, 0xff, 0x22]), OCI_INDEX)).toThrow(
      'no JSON',
    );
  });

  it('throws nothing but ManifestError for any JSON', () => {
    const key = fc.constantFrom(
      'schemaVersion',
      'mediaType',
      'config',
      'layers',
      'manifests',
      'platform',
      'digest',
      'size',
      'urls',
      'annotations',
    );
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(
        { depthSize: 'small' },
        fc.constantFrom(2, 1, digest, OCI_INDEX, OCI_MANIFEST, null, ''),
        fc.dictionary(key, tie('tree')),
        fc.array(tie('tree'), { maxLength: 3 }),
      ),
    }));
    fc.assert(
      fc.property(
        fc.dictionary(key, tree),
        fc.constantFrom(OCI_INDEX, OCI_MANIFEST, undefined),
        (document, type) => {
          try {
            parse({ schemaVersion: 2, ...document }, type);
          } catch (error) {
            expect(error).toBeInstanceOf(ManifestError);
          }
        },
      ),
    );
  });
});

describe('parseImageConfig()', () => {
  const parseConfig = (document: unknown) =>
    parseImageConfig(Buffer.from(JSON.stringify(document)));

  it('reads Docker and OCI configs, null as absent', () => {
    const document = parseConfig({
      os: 'linux',
      architecture: 'arm',
      variant: 'v7',
      created: '2024-01-01T00:00:00Z',
      config: {
        Env: ['A=b'],
        Entrypoint: null,
        Cmd: ['sh'],
        ExposedPorts: { '80/tcp': {} },
        Labels: { a: 'b' },
        User: 'u:g',
        WorkingDir: '/w',
        StopSignal: 'SIGINT',
        Volumes: null,
      },
      rootfs: { type: 'layers', diff_ids: [digest] },
    });
    expect(document).toEqual({
      config: {
        env: ['A=b'],
        entrypoint: [],
        cmd: ['sh'],
        exposedPorts: ['80/tcp'],
        labels: { a: 'b' },
        user: 'u:g',
        workingDirectory: '/w',
        stopSignal: 'SIGINT',
        volumes: [],
      },
      platform: { os: 'linux', architecture: 'arm', variant: 'v7' },
      diffIds: [digest],
      created: '2024-01-01T00:00:00Z',
    });
  });

  it.each([
    [{ config: { Env: 'A=b' } }, 'field "config.Env": expected a list of strings, found "A=b"'],
    [{ config: [] }, 'field "config": expected an object'],
    [
      { rootfs: { diff_ids: ['x'] } },
      'field "rootfs.diff_ids[0]": expected a sha256 digest, found "x"',
    ],
    [{ config: { Labels: { a: 1 } } }, 'field "config.Labels.a": expected a string, found 1'],
  ])('refuses %j', (document, message) => {
    expect(() => parseConfig(document)).toThrow(message);
  });
});
