import { execFileSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Digest } from '../../src/digest.js';
import type { LayerForm } from '../../src/native.js';
import { LayerRoot } from '../fixtures/layer-root.js';
import { type LayerEntry, makeLayerTar } from '../fixtures/layer-tar.js';
import { unpackByUmoci, writeImage } from '../fixtures/oci-image.js';
import { compareTrees, readTree } from '../fixtures/tree-compare.js';

interface Comparison {
  readonly layers: readonly Uint8Array[];
  /** Directories whose time is that of umoci's run: it makes directories there that no layer lists, or no layer lists themselves. */
  readonly otherTimes?: readonly string[];
  /** Paths whose link counts differ for a good reason. */
  readonly otherLinks?: readonly string[];
}

/** Entries that every kind of layer is made of. */
function baseLayer(mtime: string): LayerEntry[] {
  return [
    { name: './', mode: 0o711, uid: 3, gid: 4, mtime },
    { name: 'etc/', mode: 0o750, uid: 1, gid: 2, mtime, xattrs: { 'user.etc': 'base' } },
    { name: 'etc/passwd', content: 'root', mtime },
    { name: 'etc/shadow', content: 'secret', mode: 0o600, mtime },
    { name: 'etc/alternatives/', mtime },
    { name: 'etc/alternatives/old', content: 'o', mtime },
    { name: 'usr/', mtime },
    { name: 'usr/lib/', mode: 0o700, uid: 9, mtime },
    { name: 'usr/lib/libc', content: 'c', mtime },
    { name: 'usr/bin/', mtime },
    { name: 'usr/bin/ping', content: 'p', mode: 0o4755, mtime, xattrs: { 'user.note': 'text' } },
    { name: 'usr/bin/ping6', type: 'link', linkname: 'usr/bin/ping' },
    { name: 'lib', type: 'symlink', linkname: 'usr/lib', mtime },
    { name: 'run', type: 'symlink', linkname: '/var/run', mtime },
    { name: 'var/', mtime },
    { name: 'var/cache/', mtime },
    { name: 'var/cache/one', content: '1', mtime },
    { name: 'var/cache/two', content: '2', mtime },
    { name: 'dev/', mtime },
    {
      name: 'dev/null',
      type: 'character-device',
      device: { major: 1, minor: 3 },
      mode: 0o666,
      mtime,
    },
    { name: 'pipe', type: 'fifo', mtime },
  ];
}

const M1 = '1600000000.123456789';
const M2 = '1700000000.5';

/** Differences between what umoci unpacks and what a container sees in each of the roots. */
async function compareWithUmoci(
  roots: readonly LayerRoot[],
  directory: string,
  { layers, otherTimes = [], otherLinks = [] }: Comparison,
): Promise<string[]> {
  const layout = writeImage(join(directory, 'layout'), { layers: layers.map((tar) => ({ tar })) });
  const rootfs = unpackByUmoci(layout, join(directory, 'bundle'));
  const fd = openSync(rootfs, 'r');
  try {
    const expected = readTree(fd);
    const found: string[] = [];
    for (const root of roots) {
      const chain: Digest[] = [];
      for (const tar of layers) chain.push(await root.ingest(tar));
      found.push(
        ...compareTrees(expected, await root.readChain(chain), {
          comparesTime: (path) => !otherTimes.includes(path),
          comparesLinks: (path) => !otherLinks.includes(path),
        }),
      );
    }
    return found;
  } finally {
    closeSync(fd);
  }
}

describe.each(['image', 'directory'] as const)(
  'a chain of layers in %s form',
  (form: LayerForm) => {
    let root: LayerRoot;
    let directory: string;
    beforeEach(async () => {
      root = await LayerRoot.create({ layerForm: form });
      directory = mkdtempSync(join(tmpdir(), 'cais-umoci-'));
    });
    afterEach(async () => {
      await root.remove();
      rmSync(directory, { recursive: true, force: true });
    });

    const differences = (comparison: Comparison) => compareWithUmoci([root], directory, comparison);

    test('of one layer looks as umoci unpacks it', async () => {
      expect(await differences({ layers: [await makeLayerTar(baseLayer(M1))] })).toEqual([]);
    });

    test('looks so with whiteouts, opaque directories, replaced and changed entries', async () => {
      const layers = await Promise.all([
        makeLayerTar(baseLayer(M1)),
        makeLayerTar([
          { name: 'etc/', mode: 0o755, mtime: M2 },
          { name: 'etc/.wh.shadow' },
          { name: 'etc/passwd', content: 'root and anna', mode: 0o640, mtime: M2 },
          { name: 'var/', mtime: M2 },
          { name: 'var/cache/', mtime: M2 },
          { name: 'var/cache/.wh..wh..opq' },
          { name: 'var/cache/three', content: '3', mtime: M2 },
          { name: '.wh.pipe' },
          { name: 'dev', content: 'a file now', mtime: M2 },
        ]),
        makeLayerTar([
          { name: '.wh.dev' },
          { name: 'dev/', mtime: M2, mode: 0o700 },
          { name: 'pipe/', mtime: M2 },
          { name: 'pipe/in', content: 'x', mtime: M2 },
          { name: 'usr/', mtime: M2 },
          { name: 'usr/bin/', mtime: M2 },
          { name: 'usr/bin/.wh.ping6' },
        ]),
      ]);
      expect(await differences({ layers, otherLinks: ['usr/bin/ping'] })).toEqual([]);
    });

    test('keeps owner, mode, time and xattrs of directories that upper layers only imply', async () => {
      const layers = await Promise.all([
        makeLayerTar(baseLayer(M1)),
        makeLayerTar([{ name: 'etc/alternatives/new/deep', content: 'n', mtime: M2 }]),
        makeLayerTar([
          { name: 'etc/hostname', content: 'h', mtime: M2 },
          { name: 'usr/lib/.wh.libc' },
        ]),
        makeLayerTar([{ name: 'opt/made/up', content: 'u', mtime: M2 }]),
      ]);
      expect(
        await differences({
          layers,
          otherTimes: ['.', 'etc/alternatives', 'etc/alternatives/new', 'opt', 'opt/made'],
        }),
      ).toEqual([]);
    });

    test('shows a directory that was removed and made again with nothing of the old one', async () => {
      const layers = await Promise.all([
        makeLayerTar(baseLayer(M1)),
        makeLayerTar([{ name: '.wh.var' }]),
        makeLayerTar([{ name: 'var/lib/fresh', content: 'f', mtime: M2 }]),
        makeLayerTar([{ name: '.wh.etc' }, { name: 'etc/only', content: 'o', mtime: M2 }]),
      ]);
      expect(await differences({ layers, otherTimes: ['.', 'var', 'var/lib', 'etc'] })).toEqual([]);
    });

    test('puts entries below a symbolic link of a lower layer where the link leads', async () => {
      const layers = await Promise.all([
        makeLayerTar(baseLayer(M1)),
        makeLayerTar([
          {
            name: 'lib/modules/driver',
            content: 'd'.repeat(5000),
            mtime: M2,
            xattrs: { 'user.m': 'x' },
          },
          { name: 'lib/modules/again', type: 'link', linkname: 'lib/modules/driver' },
          { name: 'lib/link', type: 'symlink', linkname: 'libc', mtime: M2 },
          { name: 'lib/.wh.libc' },
          { name: 'run/lock/file', content: 'l', mtime: M2 },
        ]),
        makeLayerTar([
          { name: 'usr/lib/late', content: 'late', mtime: M2 },
          { name: 'lib/later', content: 'later', mtime: M2 },
        ]),
      ]);
      expect(
        await differences({
          layers,
          otherTimes: ['usr/lib', 'usr/lib/modules', 'var', 'var/run', 'var/run/lock'],
        }),
      ).toEqual([]);
    });

    test('replaces a symbolic link of a lower layer by a directory that is listed', async () => {
      const layers = await Promise.all([
        makeLayerTar(baseLayer(M1)),
        makeLayerTar([
          { name: 'lib/', mtime: M2 },
          { name: 'lib/own', content: 'o', mtime: M2 },
        ]),
      ]);
      expect(await differences({ layers })).toEqual([]);
    });

    test('shows nothing of the layers below an opaque root', async () => {
      const layers = await Promise.all([
        makeLayerTar(baseLayer(M1)),
        makeLayerTar([
          { name: './', mtime: M2 },
          { name: '.wh..wh..opq' },
          { name: 'only', content: 'o', mtime: M2 },
        ]),
        makeLayerTar([{ name: 'more', content: 'm', mtime: M2 }]),
      ]);
      expect(await differences({ layers })).toEqual([]);
    });
  },
);

test('long names, deep paths, 100,000 entries, sparse files and capabilities look as umoci unpacks them', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'cais-umoci-'));
  const roots: LayerRoot[] = [];
  try {
    for (const layerForm of ['image', 'directory'] as const) {
      roots.push(await LayerRoot.create({ layerForm }));
    }
    const wide = Array.from({ length: 15 }, (_, i) => String(i % 10).repeat(255));
    const capability = `\x01\x00\x00\x02\x00\x04\x00\x00${'\x00'.repeat(12)}`;
    const layers = [
      await makeLayerTar([
        { name: './', mtime: M1 },
        ...wide.map((_, i) => ({ name: `${wide.slice(0, i + 1).join('/')}/`, mtime: M1 })),
        { name: `${wide.join('/')}/file`, content: 'deep', mtime: M1 },
        { name: 'cap', content: 'c', mtime: M1, xattrs: { 'security.capability': capability } },
        { name: 'many/', mtime: M1 },
        ...Array.from({ length: 100_000 }, (_, i) => ({ name: `many/${i}` })),
      ]),
      makeSparseTar(join(directory, 'source')),
    ];
    expect(await compareWithUmoci(roots, directory, { layers })).toEqual([]);
  } finally {
    for (const root of roots) await root.remove();
    rmSync(directory, { recursive: true, force: true });
  }
}, 300_000);

/** In the pax form: umoci does not know the one of GNU. */
function makeSparseTar(source: string): Buffer {
  mkdirSync(source);
  const fd = openSync(join(source, 'sparse'), 'w');
  writeSync(fd, 'begin', 0);
  writeSync(fd, 'middle', 1 << 20);
  ftruncateSync(fd, 3 << 20);
  closeSync(fd);
  return execFileSync('tar', ['--sparse', '--format=posix', '-C', source, '-c', 'sparse']);
}
