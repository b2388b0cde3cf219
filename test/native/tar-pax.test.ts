import { beforeAll, describe, expect, test } from 'vitest';
import { END, member, pax, paxRecord, rawHeader } from '../fixtures/raw-tar.js';
import { BUILD_TIMEOUT_MS, buildTarEvents, readTar } from '../fixtures/tar-events.js';

beforeAll(async () => {
  await buildTarEvents();
}, BUILD_TIMEOUT_MS);

function tarOf(...members: Buffer[]): Buffer {
  return Buffer.concat([...members, END]);
}

async function readOne(...members: Buffer[]) {
  const reading = await readTar(tarOf(...members));
  expect(reading.message).toBeUndefined();
  expect(reading.entries).toHaveLength(1);
  return reading.entries[0] as (typeof reading.entries)[0];
}

async function refusal(tar: Buffer): Promise<string> {
  const reading = await readTar(tar);
  return `${reading.code}: ${reading.message}`;
}

describe('pax headers', () => {
  const file = member({ name: 'short', uid: '0000001\0' }, 'data');

  test('names, owners, size and times', async () => {
    const name = `${'d'.repeat(200)}/ü\n`;
    const entry = await readOne(
      pax([
        ['path', name],
        ['uid', '3000000000'],
        ['gid', '7'],
        ['size', '4'],
        ['mtime', '1700000000.123456789123'],
        ['atime', '1'],
        ['comment', 'ignored'],
      ]),
      member({ name: 'short', size: 0 }, 'data'),
    );
    expect(Buffer.from(entry.name, 'latin1').toString()).toBe(name);
    expect([entry.uid, entry.gid, entry.size]).toEqual([3_000_000_000, 7, 4]);
    expect(entry.mtime).toEqual(['1700000000', 123_456_789]);
    expect(entry.data).toEqual([[0, 'data']]);
  });

  test.each([
    ['1.5', '1', 500_000_000],
    ['0.000000001', '0', 1],
    ['-1.5', '-2', 500_000_000],
    ['-0.1', '-1', 900_000_000],
    ['-3', '-3', 0],
    ['12.', '12', 0],
  ])('the time %s', async (text, seconds, nanos) => {
    expect((await readOne(pax([['mtime', text]]), file)).mtime).toEqual([seconds, nanos]);
  });

  test('link targets', async () => {
    const entry = await readOne(
      pax([['linkpath', 't'.repeat(4095)]]),
      rawHeader({ type: '2', link: 'short' }),
    );
    expect(entry.link).toBe('t'.repeat(4095));
  });

  test('xattrs of both vendors, binary and empty values too', async () => {
    const binary = Buffer.from([1, 0, 10, 61, 255]);
    const entry = await readOne(
      pax([
        ['SCHILY.xattr.security.capability', binary],
        ['SCHILY.xattr.user.empty', ''],
        ['LIBARCHIVE.xattr.user.a%3Db%25', 'AQAKPf8'],
        ['LIBARCHIVE.xattr.user.padded', 'AQ=='],
      ]),
      file,
    );
    expect(entry.xattrs).toEqual({
      'security.capability': binary.toString('latin1'),
      'user.a=b%': binary.toString('latin1'),
      'user.empty': '',
      'user.padded': '\x01',
    });
  });

  test('an empty value takes a keyword back; a header lasts for one entry', async () => {
    const { entries } = await readTar(
      tarOf(
        pax([
          ['path', 'long'],
          ['path', ''],
          ['uid', '5'],
        ]),
        file,
        file,
      ),
    );
    expect(entries.map(({ name, uid }) => [name, uid])).toEqual([
      ['short', 5],
      ['short', 1],
    ]);
  });

  test('global headers hold from then on, local ones go before them', async () => {
    const global = pax(
      [
        ['uid', '5'],
        ['gid', '6'],
        ['SCHILY.xattr.user.g', 'v'],
      ],
      { global: true },
    );
    const { entries } = await readTar(tarOf(file, global, pax([['uid', '9']]), file, file));
    expect(entries.map(({ uid, gid, xattrs }) => [uid, gid, xattrs])).toEqual([
      [1, 0, {}],
      [9, 6, { 'user.g': 'v' }],
      [5, 6, { 'user.g': 'v' }],
    ]);
  });

  test.each(['path', 'linkpath', 'size', 'GNU.sparse.name'])(
    'a global header may not say %s',
    async (key) => {
      const tar = tarOf(pax([[key, '1']], { global: true }), file);
      expect(await refusal(tar)).toMatch(/^BAD_TAR: A global pax header/);
    },
  );

  test.each<[string, Buffer]>([
    ['no length', Buffer.from('path=x\n')],
    ['a length beyond the header', Buffer.from('99 path=x\n')],
    ['a length of 0', Buffer.from('0 path=x\n')],
    ['a length too short for a keyword', Buffer.from('2 \n')],
    ['an endless length', Buffer.from('999999999999999999999999 path=x\n')],
    ['a negative length', Buffer.from('-9 path=x\n')],
    ['no newline', Buffer.from('9 path=xx')],
    ['no equals sign', Buffer.from('9 pathxx\n')],
    ['no keyword', paxRecord('', 'x')],
    ['a NUL in a path', paxRecord('path', 'a\0b')],
    ['a NUL in a link', paxRecord('linkpath', 'a\0b')],
    ['a NUL in the name of an xattr', paxRecord('SCHILY.xattr.user.a\0b', '')],
    ['an xattr without name', paxRecord('SCHILY.xattr.', '')],
    ['a negative uid', paxRecord('uid', '-1')],
    ['the uid -1 of chown(2)', paxRecord('uid', '4294967295')],
    ['a size with a sign', paxRecord('size', '+1')],
    ['a huge size', paxRecord('size', '99999999999999999999')],
    ['a time without digits', paxRecord('mtime', '.5')],
    ['a time with an exponent', paxRecord('mtime', '1e9')],
    ['a huge time', paxRecord('mtime', '99999999999999999999')],
    ['bad base64', paxRecord('LIBARCHIVE.xattr.user.a', 'A*==')],
    ['one digit of base64', paxRecord('LIBARCHIVE.xattr.user.a', 'AAAAA')],
  ])('%s is BAD_TAR', async (_, body) => {
    expect(await refusal(tarOf(member({ type: 'x' }, body), file))).toMatch(/^BAD_TAR: .*pax/);
  });

  test.each<[string, readonly [string, string | Buffer]]>([
    ['a name of an xattr of 256 bytes', [`SCHILY.xattr.${'n'.repeat(256)}`, '']],
    ['a value of an xattr of 64 KiB and a byte', ['SCHILY.xattr.user.a', 'v'.repeat(65_537)]],
    ['a header of more than 1 MiB', ['comment', 'c'.repeat(2 ** 20)]],
    ['a path of 4,097 bytes', ['path', 'p'.repeat(4097)]],
  ])('%s is LIMIT_EXCEEDED', async (_, record) => {
    expect(await refusal(tarOf(pax([record]), file))).toMatch(/^LIMIT_EXCEEDED: /);
  });
});
