import { execFileSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { LayerForm } from '../../src/native.js';
import { LayerRoot, refusalOf } from '../fixtures/layer-root.js';
import { type LayerEntry, makeLayerTar } from '../fixtures/layer-tar.js';
import type { Tree } from '../fixtures/tree-compare.js';

/** CAP_NET_BIND_SERVICE, permitted and effective, as vfs_cap_data version 2. */
const CAPABILITY = `\x01\x00\x00\x02\x00\x04\x00\x00${'\x00'.repeat(12)}`;

const hex = (text: string) => Buffer.from(text).toString('hex');

/** The contract of both forms of a layer: what a tar means, seen through the descriptor of the layer. */
export function testLayerForm(form: LayerForm): void {
  describe(`a layer in ${form} form`, () => {
    let root: LayerRoot;
    beforeEach(async () => {
      root = await LayerRoot.create({ layerForm: form });
    });
    afterEach(() => root.remove());

    const read = async (entries: Iterable<LayerEntry>): Promise<Tree> =>
      root.readLayer(await root.ingest(await makeLayerTar(entries)));
    const refusal = async (entries: Iterable<LayerEntry>) => refusalOf(root, entries);

    test('shows type, mode, owner and time to the nanosecond of every kind of entry', async () => {
      const mtime = '1700000000.123456789';
      const owner = { uid: 1234, gid: 70000, mtime };
      const tree = await read([
        { name: './', mode: 0o750, ...owner },
        { name: 'file', content: 'content', mode: 0o4755, ...owner },
        { name: 'empty', mode: 0o600, ...owner },
        { name: 'sticky/', mode: 0o1777, ...owner },
        { name: 'setgid/', mode: 0o2775, ...owner },
        { name: 'link', type: 'symlink', linkname: '../up', ...owner },
        { name: 'hard', type: 'link', linkname: 'file' },
        { name: 'hard-to-link', type: 'link', linkname: './link' },
        {
          name: 'tty',
          type: 'character-device',
          device: { major: 5, minor: 300 },
          mode: 0o620,
          ...owner,
        },
        { name: 'disk', type: 'block-device', device: { major: 259, minor: 1 }, ...owner },
        { name: 'pipe', type: 'fifo', mode: 0o622, ...owner },
      ]);
      for (const [path, entry] of tree) {
        expect([path, entry.owner, entry.mtimeNanos]).toEqual([
          path,
          '1234:70000',
          1700000000123456789n,
        ]);
      }
      expect(tree.get('.')).toMatchObject({ type: 'directory', mode: '750' });
      expect(tree.get('file')).toMatchObject({
        type: 'file',
        mode: '4755',
        links: 2,
        sizeBytes: 7,
      });
      expect(tree.get('hard')).toEqual(tree.get('file'));
      expect(tree.get('empty')).toMatchObject({ mode: '600', links: 1, sizeBytes: 0 });
      expect(tree.get('sticky')).toMatchObject({ type: 'directory', mode: '1777' });
      expect(tree.get('setgid')).toMatchObject({ type: 'directory', mode: '2775' });
      expect(tree.get('link')).toMatchObject({
        type: 'symlink',
        target: '../up',
        links: 2,
        mode: '777',
      });
      expect(tree.get('hard-to-link')).toEqual(tree.get('link'));
      expect(tree.get('tty')).toMatchObject({ type: 'character', device: '5:300', mode: '620' });
      expect(tree.get('disk')).toMatchObject({ type: 'block', device: '259:1' });
      expect(tree.get('pipe')).toMatchObject({ type: 'fifo', mode: '622' });
    });

    test('keeps times before 1970 and after 2038, within what ext4 stores', async () => {
      const tree = await read([
        { name: 'old', mtime: '-1000000000.5' },
        { name: 'older', mtime: '-62135596800' },
        { name: 'late', mtime: '4102444800' },
      ]);
      expect(tree.get('older')?.mtimeNanos).toBe(-(2n ** 31n) * 1_000_000_000n);
      expect(tree.get('late')?.mtimeNanos).toBe(4102444800n * 1_000_000_000n);
    });

    test('keeps xattrs and file capabilities, and drops those that steer overlayfs', async () => {
      const long = 'v'.repeat(2000);
      const tree = await read([
        {
          name: 'file',
          content: 'x',
          xattrs: {
            'user.note': 'text',
            'user.empty': '',
            'user.long': long,
            'trusted.seen': '1',
            'security.capability': CAPABILITY,
            'trusted.overlay.redirect': '/etc',
            'trusted.overlay.opaque': 'y',
            'user.overlay.whiteout': 'y',
          },
        },
        { name: 'dir/', xattrs: { 'user.dir': 'd', 'trusted.overlay.opaque': 'y' } },
        {
          name: 'link',
          type: 'symlink',
          linkname: 'file',
          xattrs: { 'user.no': 'x', 'trusted.link': 'l' },
        },
        { name: 'pipe', type: 'fifo', xattrs: { 'user.no': 'x', 'trusted.pipe': 'p' } },
      ]);
      expect(tree.get('file')?.xattrs).toEqual({
        'security.capability': hex(CAPABILITY),
        'trusted.seen': hex('1'),
        'user.empty': '',
        'user.long': hex(long),
        'user.note': hex('text'),
      });
      expect(tree.get('dir')?.xattrs).toEqual({ 'user.dir': hex('d') });
      expect(tree.get('link')?.xattrs).toEqual({ 'trusted.link': hex('l') });
      expect(tree.get('pipe')?.xattrs).toEqual({ 'trusted.pipe': hex('p') });
    });

    test('refuses a malformed file capability and xattrs of unknown name spaces', async () => {
      const withXattr = (name: string, value: string) =>
        refusal([{ name: 'f', xattrs: { [name]: value } }]);
      expect(await withXattr('security.capability', 'short')).toMatch(
        /^REFUSED_ENTRY: .*"f".*malformed/,
      );
      expect(await withXattr('nowhere.name', 'x')).toMatch(/^REFUSED_ENTRY: .*name space/);
      expect(await withXattr('user.', 'x')).toMatch(/^REFUSED_ENTRY: .*name space/);
      expect(await withXattr(`user.${'n'.repeat(251)}`, 'x')).toMatch(/^LIMIT_EXCEEDED/);
    });

    test('says so when xattrs are larger than it can store', async () => {
      const value = 'v'.repeat(65536);
      expect(await refusal([{ name: 'f', xattrs: { 'user.large': value } }])).toMatch(
        /^LIMIT_EXCEEDED: .*"f"/,
      );
    });

    test('turns whiteouts into character devices 0:0, and opaque markers into the xattr', async () => {
      const tree = await read([
        { name: 'etc/' },
        { name: 'etc/.wh.passwd' },
        { name: 'etc/.wh..wh..opq' },
        { name: '.wh.gone' },
        { name: '.wh..wh.aufs' },
        { name: '.wh..wh.plnk/' },
        { name: '.wh..wh.plnk/1.2' },
        { name: 'deep/er/.wh.x' },
      ]);
      expect([...tree.keys()].sort()).toEqual([
        '.',
        'deep',
        'deep/er',
        'deep/er/x',
        'etc',
        'etc/passwd',
        'gone',
      ]);
      expect(tree.get('gone')).toMatchObject({ type: 'character', device: '0:0', mode: '0' });
      expect(tree.get('etc/passwd')).toMatchObject({ type: 'character', device: '0:0' });
      // Overlayfs looks for whiteouts only in directories of several layers, and in those with the second mark.
      expect(tree.get('etc')?.xattrs).toEqual({
        'trusted.overlay.opaque': hex('y'),
        'trusted.overlay.origin': '',
      });
    });

    test('does not let a container list whiteouts in a directory that only one layer has', async () => {
      const base = await root.ingest(await makeLayerTar([{ name: 'base' }]));
      const top = await root.ingest(
        await makeLayerTar([{ name: 'd/.wh.gone' }, { name: 'd/kept' }, { name: 'o/.wh.gone' }]),
      );
      const tree = await root.readChain([base, top]);
      expect([...tree.keys()].sort()).toEqual(['.', 'base', 'd', 'd/kept', 'o']);
      expect([...(await root.readChain([top])).keys()].sort()).toEqual(['.', 'd', 'd/kept', 'o']);
    });

    test('prefers a real entry to a whiteout of its name, before or after it, and hides what is below', async () => {
      const tree = await read([
        { name: '.wh.first' },
        { name: 'first', content: '1' },
        { name: 'second', content: '2' },
        { name: '.wh.second' },
        { name: '.wh.dir' },
        { name: 'dir/file', content: '3' },
      ]);
      expect(tree.get('first')).toMatchObject({ type: 'file', sizeBytes: 1 });
      expect(tree.get('second')).toMatchObject({ type: 'file' });
      expect(tree.get('dir')).toMatchObject({
        type: 'directory',
        xattrs: { 'trusted.overlay.opaque': hex('y') },
      });
    });

    test('takes the last of several entries of a name', async () => {
      const tree = await read([
        { name: 'a', content: 'old' },
        { name: 'a', content: 'newer', mode: 0o600 },
        { name: 'd/', mode: 0o700 },
        { name: 'd/kept', content: 'k' },
        { name: './d', type: 'directory', mode: 0o711, xattrs: { 'user.again': 'y' } },
        { name: 'was-file', content: 'f' },
        { name: 'was-file/' },
        { name: 'was-file/in', content: 'i' },
        { name: 'was-dir/' },
        { name: 'was-dir/deep/lost', content: 'l' },
        { name: 'was-dir', content: 'file now' },
        { name: 'linked', content: 'shared' },
        { name: 'other', type: 'link', linkname: 'linked' },
        { name: 'linked', content: 'alone' },
      ]);
      expect(tree.get('a')).toMatchObject({ sizeBytes: 5, mode: '600' });
      expect(tree.get('d')).toMatchObject({ mode: '711', xattrs: { 'user.again': hex('y') } });
      expect(tree.has('d/kept')).toBe(true);
      // What it replaced had hidden the layers below.
      expect(tree.get('was-file')).toMatchObject({
        type: 'directory',
        xattrs: { 'trusted.overlay.opaque': hex('y') },
      });
      expect(tree.has('was-file/in')).toBe(true);
      expect(tree.get('was-dir')).toMatchObject({ type: 'file', sizeBytes: 8 });
      expect(tree.has('was-dir/deep')).toBe(false);
      expect(tree.get('other')).toMatchObject({ links: 1, sizeBytes: 6 });
      expect(tree.get('linked')).toMatchObject({ links: 1, sizeBytes: 5 });
    });

    test('makes directories that are not listed 0755 0:0 at time 0, and reports them', async () => {
      const tar = await makeLayerTar([
        { name: 'a/b/c', content: 'x' },
        { name: 'late/x', content: 'x' },
        { name: 'late/', mode: 0o700, uid: 5 },
      ]);
      const { diffId, impliedDirectories } = await root.store.ingest(root.ingestOptions(tar));
      expect(impliedDirectories.map((name) => Buffer.from(name, 'base64').toString())).toEqual([
        '',
        'a',
        'a/b',
      ]);
      const tree = await root.readLayer(diffId);
      for (const path of ['.', 'a', 'a/b']) {
        expect(tree.get(path)).toMatchObject({ mode: '755', owner: '0:0', mtimeNanos: 0n });
      }
      expect(tree.get('late')).toMatchObject({ mode: '700', owner: '5:0' });
    });

    test('keeps content whatever its size, also of hard links in other directories', async () => {
      const contents = [1, 511, 512, 513, 4095, 4096, 4097, 300_000, 3_000_001].map((size) =>
        Buffer.alloc(size, `${size} `),
      );
      const tree = await read([
        ...contents.map((content) => ({ name: `f${content.length}`, content })),
        { name: 'x/y/hard', type: 'link' as const, linkname: '/f513' },
      ]);
      for (const content of contents) {
        const entry = tree.get(`f${content.length}`);
        expect(entry?.sizeBytes).toBe(content.length);
      }
      const { createHash } = await import('node:crypto');
      for (const content of contents) {
        expect(tree.get(`f${content.length}`)?.content).toBe(
          createHash('sha256').update(content).digest('hex'),
        );
      }
      expect(tree.get('x/y/hard')).toEqual(tree.get('f513'));
    });

    test('takes names of 255 bytes, paths of 4,000 and link targets of 4,095', async () => {
      const long = 'n'.repeat(255);
      const deep = Array.from({ length: 2000 }, () => 'd').join('/');
      const wide = Array.from({ length: 15 }, (_, i) => String(i % 10).repeat(255)).join('/');
      const tree = await read([
        { name: long, content: 'long' },
        { name: `${deep}/`, mode: 0o711 },
        { name: `${wide}/file`, content: 'wide' },
        { name: 'to', type: 'symlink', linkname: `/${'t'.repeat(4094)}` },
        { name: 'to2', type: 'symlink', linkname: 'u'.repeat(449) },
        ...Array.from({ length: 40 }, (_, i) => ({
          name: `s${i}`,
          type: 'symlink' as const,
          linkname: 'v'.repeat(13 * i + 1),
        })),
      ]);
      expect(tree.has(long)).toBe(true);
      expect(tree.get(deep)).toMatchObject({ mode: '711' });
      expect(tree.get(`${wide}/file`)).toMatchObject({ sizeBytes: 4 });
      expect(tree.get('to')?.target).toBe(`/${'t'.repeat(4094)}`);
      for (let i = 0; i < 40; i++) expect(tree.get(`s${i}`)?.target).toBe('v'.repeat(13 * i + 1));
    });

    test('takes names in any byte, and a directory of names around "." and ".."', async () => {
      const names = [' ', '!', '-', '...', '.a', '+', '\\', 'ä', '\u{1F4E6}', 'a\nb', '\x7f'];
      const tree = await read(names.map((name) => ({ name: `d/${name}`, content: name })));
      for (const name of names) {
        const latin1 = Buffer.from(name).toString('latin1');
        expect(tree.get(`d/${latin1}`)?.sizeBytes).toBe(Buffer.byteLength(name));
      }
    });

    test('takes a directory of 100,000 entries', async () => {
      const count = 100_000;
      function* entries(): Generator<LayerEntry> {
        for (let i = 0; i < count; i++) yield { name: `many/file-${i}`, mode: 0o640 };
      }
      const tree = await read(entries());
      expect(tree.size).toBe(count + 2);
      expect(tree.get(`many/file-${count - 1}`)).toMatchObject({ mode: '640' });
    });

    for (const format of ['gnu', 'posix'] as const) {
      test(`keeps sparse files with their holes (${format} tar)`, async () => {
        const source = mkdtempSync(join(tmpdir(), 'cais-sparse-'));
        try {
          const pieces = {
            begin: [0],
            middle: [1 << 20, 5 << 20],
            end: [(8 << 20) - 3],
            odd: [4095, 70_001],
          };
          for (const [name, offsets] of Object.entries(pieces)) {
            const fd = openSync(join(source, name), 'w');
            for (const offset of offsets) writeSync(fd, `data at ${offset}`, offset);
            ftruncateSync(fd, 9 << 20);
            closeSync(fd);
          }
          closeSync(openSync(join(source, 'all-hole'), 'w'));
          execFileSync('truncate', ['-s', '20M', join(source, 'all-hole')]);
          const tar = execFileSync(
            'tar',
            ['--sparse', `--format=${format}`, '-C', source, '-c', '.'],
            {
              maxBuffer: 2 ** 28,
            },
          );
          expect(tar.length).toBeLessThan(1 << 20);
          const diffId = await root.ingest(tar);
          expect(root.store.get(diffId)?.layerBytes).toBeLessThan(4 << 20);
          const tree = await root.readLayer(diffId);
          for (const name of [...Object.keys(pieces), 'all-hole']) {
            const fd = await root.store.descriptor(diffId);
            execFileSync('cmp', [join(source, name), `/proc/self/fd/3/${name}`], {
              stdio: ['ignore', 'pipe', 'pipe', fd],
            });
            expect(tree.get(name)?.sizeBytes).toBe(statSync(join(source, name)).size);
          }
        } finally {
          rmSync(source, { recursive: true });
        }
      });
    }
  });
}
