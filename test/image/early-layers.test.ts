import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { digestOf } from '../../src/digest.js';
import type { Misbehaviour, SeenRequest } from '../fakes/registry.js';
import { OCI_INDEX, OCI_MANIFEST, refuse, times } from '../fakes/registry.js';
import { codeOf, expectNothingLeft, isBlob, layers, pull, registry } from './images-fixture.js';

/** Answers nothing that `matches` before `isTime`. */
const holdBack =
  (matches: (request: SeenRequest) => boolean, isTime: () => boolean): Misbehaviour =>
  async (request) => {
    while (matches(request) && !isTime()) await delay(2);
    return false;
  };
const asked = (digest: string) => registry.seen(digest).length;

describe('pull() asks for layers while the config is on its way', () => {
  const contents = Array.from({ length: 6 }, (_, i) => Buffer.alloc(400_000, `layer ${i}`));

  it('of the first ones, each once', async () => {
    const { config, layers: descriptors } = registry.addImage('p/app', {
      tag: 'v1',
      layers: contents,
    });
    const askedEarly = () => descriptors.filter(({ digest }) => asked(digest) > 0).length;
    const isConfig = ({ path }: SeenRequest) => path.includes(config.digest);
    registry.misbehaviours.push(holdBack(isConfig, () => askedEarly() === 4));
    await pull('p/app:v1');
    expect(descriptors.map(({ digest }) => asked(digest))).toEqual([1, 1, 1, 1, 1, 1]);
    expect(contents.every((content) => layers.diffIds.has(digestOf(content)))).toBe(true);
  });

  it('but not of an image that may have another platform', async () => {
    const arm = registry.addImage('p/app', {
      layers: [Buffer.from('arm')],
      config: { architecture: 'arm64' },
    });
    const amd = registry.addImage('p/app', { layers: [Buffer.from('amd')] });
    registry.addManifest('p/app', {
      tag: 'v1',
      document: {
        schemaVersion: 2,
        mediaType: OCI_INDEX,
        manifests: [arm.manifest, amd.manifest],
      },
      mediaType: OCI_INDEX,
    });
    await pull('p/app:v1');
    expect(asked(arm.config.digest)).toBe(1);
    expect(asked(arm.layers[0]?.digest ?? '')).toBe(0);
  });

  it('and asks again for one that was refused or broke off', async () => {
    const { layers: descriptors } = registry.addImage('p/app', { tag: 'v1', layers: contents });
    const [refused, broken] = descriptors.map(({ digest }) => digest) as [string, string];
    registry.misbehaviours.push(
      times(
        1,
        ({ path }) => path.includes(refused),
        (response) => refuse(response, 404, 'BLOB_UNKNOWN'),
      ),
      times(
        1,
        ({ path }) => path.includes(broken),
        (response) => response.writeHead(200, { 'content-length': 1_000 }).destroy(),
      ),
    );
    await pull('p/app:v1');
    expect([asked(refused), asked(broken)]).toEqual([2, 2]);
  });

  it('and leaves them when the config is bad', async () => {
    const good = registry.addImage('p/app', { layers: contents });
    const config = registry.addBlob(
      { os: 'linux', architecture: 'amd64', rootfs: { diff_ids: [] } },
      'application/vnd.oci.image.config.v1+json',
    );
    registry.addManifest('p/app', {
      tag: 'v1',
      document: { schemaVersion: 2, config, layers: good.layers },
      mediaType: OCI_MANIFEST,
    });
    // One has come by then, the others never would.
    const first = good.layers[0]?.digest ?? '';
    let isDone = false;
    registry.misbehaviours.push(
      holdBack(
        (request) =>
          isBlob(request) &&
          good.layers.some(({ digest }) => request.path.includes(digest) && digest !== first),
        () => isDone,
      ),
      holdBack(
        ({ path }) => path.includes(config.digest),
        () => asked(first) > 0,
      ),
    );
    expect(await codeOf(pull('p/app:v1'))).toBe('BAD_MANIFEST');
    isDone = true;
    expectNothingLeft();
  });

  it('and none that is here already', async () => {
    const shared = registry.addImage('p/one', { tag: 'v1', layers: contents.slice(0, 2) });
    await pull('p/one:v1');
    const both = registry.addImage('p/two', {
      tag: 'v1',
      layers: [contents[0], contents[5]] as Buffer[],
    });
    await pull('p/two:v1');
    expect(asked(shared.layers[0]?.digest ?? '')).toBe(1);
    expect(asked(both.layers[1]?.digest ?? '')).toBe(1);
  });
});
