import { describe, expect, it } from 'vitest';
import { InvalidArgumentError } from '../../src/errors.js';
import { PinnedImages } from '../../src/image/pinned-images.js';
import { images, openService, pull, registry } from './images-fixture.js';

const digest = `sha256:${'a'.repeat(64)}`;

it.each([
  ['busybox', 'docker.io/library/busybox:latest', true],
  ['busybox', 'docker.io/library/busybox:1', false],
  ['docker.io/library/busybox:1', 'docker.io/library/busybox:1', true],
  [`busybox:1@${digest}`, `docker.io/library/busybox@${digest}`, true],
  ['registry.k8s.io/pa*', 'registry.k8s.io/pause:3.9', true],
  ['registry.k8s.io/pa*', 'mirror/registry.k8s.io/pause:3.9', false],
  ['busyb*', 'docker.io/library/busybox:1', true],
  ['docker.io/library/*', 'docker.io/library/busybox:1', true],
  ['*pause*', 'registry.k8s.io/pause:3.9', true],
  ['*pause*', 'registry.k8s.io/coredns:1', false],
])('the pattern %s and the name %s', (pattern, name, expected) => {
  expect(new PinnedImages([pattern]).has([name])).toBe(expected);
});

it.each(['*', '**', 'a*b', '*a', 'A B', ''])('refuses the pattern %j', (pattern) => {
  expect(() => new PinnedImages([pattern])).toThrow(InvalidArgumentError);
});

describe('a pinned image', () => {
  it('is shown as such, and stays when content is collected', async () => {
    registry.addImage('p/base', { tag: '1', layers: [Buffer.from('base')] });
    registry.addImage('p/app', { tag: '1', layers: [Buffer.from('app')] });
    await pull('p/base:1');
    await pull('p/app:1');
    await images.close();
    await using service = await closing(openService({ pinnedImages: ['*p/base*'] }));
    const pinned = service.images.list().map(({ names, pinned }) => [names[0], pinned]);
    expect(pinned.sort()).toEqual([
      [`${registry.host}/p/app:1`, false],
      [`${registry.host}/p/base:1`, true],
    ]);
    await service.images.collect();
    expect(service.images.find(`${registry.host}/p/base:1`)?.pinned).toBe(true);
  });

  it('is no longer one when the configuration says so', async () => {
    registry.addImage('p/base', { tag: '1' });
    await using service = await closing(openService({ pinnedImages: ['*base*'] }));
    const image = await service.images.pull(`${registry.host}/p/base:1`, {
      platform: { os: 'linux', architecture: 'amd64' },
    });
    expect(image.pinned).toBe(true);
    expect(images.inspect(image.id).pinned).toBe(false);
  });
});

async function closing(opened: ReturnType<typeof openService>) {
  const service = await opened;
  return { images: service, [Symbol.asyncDispose]: () => service.close() };
}
