import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { digestOf } from '../../src/digest.js';
import { NativeError } from '../../src/errors.js';
import { loadNative, SUPERVISOR_PATH } from '../../src/native.js';
import { Snapshotter, type SnapshotterOptions } from '../../src/snapshot/snapshotter.js';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: overlay mounts need root');

describe.skipIf(!isRoot)('Snapshotter', () => {
  const chain = [digestOf('lower'), digestOf('upper')];
  let root: string;
  let layerFds: number[];
  let open: number[];
  let snapshotter: Snapshotter;

  const make = (changes: Partial<SnapshotterOptions> = {}) =>
    new Snapshotter({
      root: join(root, 'root'),
      run: join(root, 'run'),
      native: loadNative(),
      // Links of directory-form layers are only used before Linux 6.7.
      layers: {
        lowerOf: async () => layerFds.map((fd, index) => ({ fd, link: String(index) })),
      },
      supervisorPath: SUPERVISOR_PATH,
      ...changes,
    });

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'cais-snapshot-'));
    open = [];
    mkdirSync(join(root, 'root', 'l'), { recursive: true });
    layerFds = ['a', 'b'].map((name, index) => {
      const directory = join(root, 'root', 'l', String(index));
      mkdirSync(directory);
      writeFileSync(join(directory, name), name);
      writeFileSync(join(directory, 'both'), name);
      return openSync(directory, 'r');
    });
    chmodSync(join(root, 'root', 'l', '1'), 0o1750);
    chownSync(join(root, 'root', 'l', '1'), 12, 34);
    snapshotter = make();
  });
  afterEach(async () => {
    for (const fd of open) closeSync(fd);
    await snapshotter.close();
    for (const fd of layerFds) closeSync(fd);
    rmSync(root, { recursive: true });
  });

  const prepare = async (id: string, options = {}) => {
    const fd = await snapshotter.prepare(id, chain, options);
    open.push(fd);
    return `/proc/self/fd/${fd}`;
  };

  it('prepare() shows the layers, the top one first, with the owner and mode of the image root', async () => {
    const path = await prepare('one');
    expect(readdirSync(path).sort()).toEqual(['a', 'b', 'both']);
    expect(readFileSync(join(path, 'both'), 'utf8')).toBe('b');
    expect(statSync(`${path}/.`)).toMatchObject({ uid: 12, gid: 34, mode: 0o041750 });
    expect(statSync(join(root, 'root', 'active')).mode & 0o777).toBe(0o700);
    expect(statSync(join(root, 'root', 'active', 'one')).mode & 0o777).toBe(0o700);
  });

  it('prepare() never shows in the mount table, and its writes stay with the container', async () => {
    const path = await prepare('one');
    writeFileSync(join(path, 'new'), 'x');
    const other = await prepare('two');
    expect(existsSync(join(other, 'new'))).toBe(false);
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(root);
    const usage = await snapshotter.usage('one');
    expect(usage.inodes).toBeGreaterThanOrEqual(2);
  });

  it('prepare() again, as after a restart, finds what was written', async () => {
    const path = await prepare('one');
    writeFileSync(join(path, 'new'), 'x');
    for (const fd of open.splice(0)) closeSync(fd);
    expect(readdirSync(await prepare('one'))).toContain('new');
  });

  it('a read-only overlay makes no directory', async () => {
    const path = await prepare('one', { readOnly: true });
    expect(() => writeFileSync(join(path, 'new'), 'x')).toThrow('EROFS');
    expect(await snapshotter.list()).toEqual([]);
  });

  it('remove() takes the tree away and succeeds when there is none', async () => {
    await prepare('one');
    await snapshotter.remove('one');
    await snapshotter.remove('one');
    await snapshotter.remove('never');
    await snapshotter.close();
    expect(await snapshotter.list()).toEqual([]);
    expect(readdirSync(join(root, 'root', 'trash'))).toEqual([]);
  });

  it('collect() removes what has no container, and empties the trash of an earlier process', async () => {
    await prepare('live');
    await prepare('dead');
    mkdirSync(join(root, 'root', 'trash', 'old.1234', 'upper'), { recursive: true });
    await snapshotter.collect((id) => id === 'live');
    await snapshotter.close();
    expect(await snapshotter.list()).toEqual(['live']);
    expect(readdirSync(join(root, 'root', 'trash'))).toEqual([]);
  });

  it.each(['', '../x', 'a/b', '.', '..', 'a\0'])('refuses the id %j', async (id) => {
    await expect(snapshotter.remove(id)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('a failed mount leaves a tree that remove() takes away', async () => {
    snapshotter = make({
      native: {
        ...{ treeUsage: loadNative().treeUsage, removeTree: loadNative().removeTree },
        mountOverlay: async () => {
          throw new NativeError({ code: 'TOO_MANY_LAYERS', message: 'too many' });
        },
      },
    });
    await expect(snapshotter.prepare('one', chain)).rejects.toMatchObject({
      code: 'TOO_MANY_LAYERS',
    });
    await snapshotter.remove('one');
    expect(await snapshotter.list()).toEqual([]);
  });
});
