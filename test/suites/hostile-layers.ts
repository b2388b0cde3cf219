import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { LayerForm } from '../../src/native.js';
import { LayerRoot, refusalOf } from '../fixtures/layer-root.js';
import { type LayerEntry, makeLayerTar } from '../fixtures/layer-tar.js';
import type { Tree } from '../fixtures/tree-compare.js';

const hex = (text: string) => Buffer.from(text).toString('hex');

/** What a hostile tar must not get out of either form of a layer. @see contracts/security.md section 4 */
export function testHostileLayers(form: LayerForm): void {
  describe(`a hostile layer in ${form} form`, () => {
    let root: LayerRoot;
    beforeEach(async () => {
      root = await LayerRoot.create({ layerForm: form });
    });
    afterEach(() => root.remove());

    const read = async (entries: Iterable<LayerEntry>): Promise<Tree> =>
      root.readLayer(await root.ingest(await makeLayerTar(entries)));
    const refusal = (entries: Iterable<LayerEntry>) => refusalOf(root, entries);

    test('confines absolute names, and follows links of the layer only inside of it', async () => {
      const tree = await read([
        { name: '/etc/absolute', content: 'a' },
        { name: './/dot//slash/./x', content: 'b' },
        { name: 'a/../inside', content: 'c' },
        { name: 'out', type: 'symlink', linkname: '/../../cais-escape' },
        { name: 'out/file', content: 'd' },
        { name: 'up', type: 'symlink', linkname: '../../..' },
        { name: 'up/top', content: 'e' },
        { name: 'tmp', type: 'symlink', linkname: 'missing/../private/tmp' },
        { name: 'tmp/file', content: 'f' },
        { name: 'chain', type: 'symlink', linkname: 'tmp' },
        { name: 'chain/second', content: 'g' },
      ]);
      expect([...tree.keys()].sort()).toEqual(
        [
          '.',
          'cais-escape',
          'cais-escape/file',
          'chain',
          'dot',
          'dot/slash',
          'dot/slash/x',
          'etc',
          'etc/absolute',
          'inside',
          'out',
          'private',
          'private/tmp',
          'private/tmp/file',
          'private/tmp/second',
          'tmp',
          'top',
          'up',
        ].sort(),
      );
    });

    test('puts an opaque marker of a linked directory where the link leads in the layer', async () => {
      const tree = await read([
        { name: 'link', type: 'symlink', linkname: '/etc' },
        { name: 'link/.wh..wh..opq' },
        { name: 'link/.wh.gone' },
      ]);
      expect(tree.get('link')).toMatchObject({ type: 'symlink' });
      expect(tree.get('etc')?.xattrs).toMatchObject({ 'trusted.overlay.opaque': hex('y') });
      expect(tree.get('etc/gone')).toMatchObject({ type: 'character', device: '0:0' });
    });

    const escapes: [string, LayerEntry[], RegExp][] = [
      ['a name that leaves by ".."', [{ name: '../escape' }], /"\.\.\/escape".*leaves the root/],
      ['an absolute name that leaves', [{ name: '/../escape' }], /leaves the root/],
      ['a name that leaves after going in', [{ name: 'a/../../escape' }], /leaves the root/],
      [
        'a file below a file',
        [{ name: 'f', content: 'x' }, { name: 'f/below' }],
        /not a directory: "f"/,
      ],
      [
        'a name below a link loop',
        [
          { name: 'l', type: 'symlink', linkname: 'm' },
          { name: 'm', type: 'symlink', linkname: 'l' },
          { name: 'l/x' },
        ],
        /too many symbolic links/,
      ],
      [
        'a hard link outwards',
        [{ name: 'h', type: 'link', linkname: '../../etc/shadow' }],
        /hard link to "\.\.\/\.\.\/etc\/shadow"/,
      ],
      [
        'a hard link to a file of a lower layer',
        [{ name: 'h', type: 'link', linkname: 'etc/shadow' }],
        /does not contain/,
      ],
      [
        'a hard link to a directory',
        [{ name: 'd/' }, { name: 'h', type: 'link', linkname: 'd' }],
        /is a directory/,
      ],
      [
        'a hard link to a whiteout',
        [{ name: '.wh.w' }, { name: 'h', type: 'link', linkname: '.wh.w' }],
        /not a file/,
      ],
      [
        'a root that is no directory',
        [{ name: './', type: 'symlink', linkname: '/etc' }],
        /root can only be/,
      ],
      ['a whiteout of nothing', [{ name: 'a/.wh.' }], /whiteout of no name/],
      ['a whiteout of "."', [{ name: '.wh..' }], /whiteout of no name/],
      ['a whiteout of ".."', [{ name: '.wh...' }], /whiteout of no name/],
      ['an entry below a whiteout', [{ name: '.wh.a/b' }], /below a whiteout/],
      [
        'a character device 0:0',
        [{ name: 'c', type: 'character-device', device: { major: 0, minor: 0 } }],
        /0:0/,
      ],
      ['a name of 256 bytes', [{ name: 'n'.repeat(256) }], /longer than 255/],
      ['a path of 4,097 bytes', [{ name: `${'abc/'.repeat(1024)}x` }], /4096/],
      [
        'an empty link target',
        [{ name: 'l', type: 'symlink', linkname: '' }],
        /link target is empty/,
      ],
      [
        'a link target of 4,096 bytes',
        [{ name: 'l', type: 'symlink', linkname: 't'.repeat(4096) }],
        /longer than 4095/,
      ],
      [
        'a place deeper than 4,096 bytes behind a link',
        [
          { name: 'ab/'.repeat(1300) },
          { name: 'l', type: 'symlink', linkname: 'ab/'.repeat(1300) },
          { name: `l/${'cd/'.repeat(300)}x` },
        ],
        /deeper than a path of 4096/,
      ],
    ];
    test.each(escapes)('refuses %s', async (_, entries, message) => {
      const refused = await refusal(entries);
      // Some are met by the tar reader already, which knows limits only.
      expect(refused).toMatch(/^(REFUSED_ENTRY|LIMIT_EXCEEDED): /);
      expect(refused).toMatch(message);
    });

    test('counts entries and bytes of names against the limits', async () => {
      await root.remove();
      root = await LayerRoot.create({
        layerForm: form,
        limits: { layerEntries: 10, layerMetadataBytes: 1000 },
      });
      const many = Array.from({ length: 11 }, (_, i) => ({ name: `f${i}` }));
      expect(await refusal(many)).toMatch(/^LIMIT_EXCEEDED: .* 10 /);
      // Directories that nobody lists count too.
      expect(await refusal([{ name: 'a/b/c/d/e/f/g/h/i/j/k/l' }, { name: 'm' }])).toMatch(
        /^LIMIT_EXCEEDED: .* 10 /,
      );
      expect(await refusal([{ name: `${'d'.repeat(200)}/`.repeat(6) }])).toMatch(
        /^LIMIT_EXCEEDED: .* 1000 /,
      );
    });
  });
}
