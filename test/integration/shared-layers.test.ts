import { once } from 'node:events';
import { closeSync, fstatSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Engine } from '../../src/index.js';
import { loadNative } from '../../src/native.js';
import { CliFixture, written } from './cli-fixture.js';

const native = loadNative();
const imageForm = process.getuid?.() === 0 && (await native.probeLayerImage('/tmp')).supported;
if (!imageForm) console.warn('skipped: this kernel mounts no layer images');

describe.skipIf(!imageForm)('the layers of one root', () => {
  let fixture: CliFixture;
  beforeEach(async () => {
    fixture = await CliFixture.open();
  });
  afterEach(() => fixture.close());

  const openEngine = () => {
    const { root, run, cgroupParent } = fixture;
    return Engine.open({ root, run, cgroupParent });
  };
  /** Superblock below an engine's containers: page cache is shared where it is the same. */
  const superblockOf = async ({ layers }: Engine) => {
    const diffId = layers.list()[0]?.diffId;
    if (diffId === undefined) throw new Error('No layer is stored');
    return fstatSync(await layers.descriptor(diffId)).dev;
  };
  /** What the supervisors hold. */
  const keptSuperblocks = async ({ sandboxes }: Engine) => {
    const devices: number[] = [];
    for (const { id } of sandboxes.list()) {
      const { fds } = await (await sandboxes.client(id)).descriptors({ what: ['layers'] });
      for (const fd of fds) {
        devices.push(fstatSync(fd).dev);
        closeSync(fd);
      }
    }
    return devices;
  };

  test('are mounted once for all engines, and stay so when the engine that did it is killed', async () => {
    const child = fixture.start('run', '-f', fixture.script('echo up; exec sleep 1000'));
    await written(child, 'up');

    await using second = await openEngine();
    const superblock = await superblockOf(second);
    expect(await keptSuperblocks(second)).toEqual([superblock]);
    await second.pods.run({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'second' },
      spec: {
        terminationGracePeriodSeconds: 0,
        containers: [{ name: 'a', image: fixture.image, command: ['sleep', '1000'] }],
      },
    });
    await expect
      .poll(() => keptSuperblocks(second), { timeout: 10_000 })
      .toEqual([superblock, superblock]);

    child.kill('SIGKILL');
    await once(child, 'close');
    await second.close();
    await using third = await openEngine();
    expect(await superblockOf(third)).toBe(superblock);
    expect((await fixture.cais('stop', '-t', '0', 'web')).code).toBe(0);
  });

  test('are mounted anew when no supervisor has them, and when what one has is no layer', async () => {
    {
      await using engine = await openEngine();
      await engine.images.pull(fixture.image);
    }
    const child = fixture.start('run', '-f', fixture.script('echo up; exec sleep 1000'));
    await written(child, 'up');
    await using engine = await openEngine();
    const [sandbox] = engine.sandboxes.list();
    const [layer] = engine.layers.list();
    if (sandbox === undefined || layer === undefined) throw new Error('Nothing runs');
    const client = await engine.sandboxes.client(sandbox.id);
    const { keys, fds } = await client.descriptors({ what: ['layers'] });
    const before = fds.map((fd) => fstatSync(fd).dev);
    for (const fd of fds) closeSync(fd);
    const { readFd, writeFd } = native.createPipe();
    await client.keep(keys.map((key) => ({ key, fd: readFd })));
    closeSync(readFd);
    closeSync(writeFd);
    expect(before).not.toContain(await superblockOf(engine));
    expect((await fixture.cais('stop', '-t', '0', 'web')).code).toBe(0);
  });
});
