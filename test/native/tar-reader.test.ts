import { beforeAll, describe, expect, test } from 'vitest';
import {
  base256,
  END,
  gnuLong,
  member,
  pax,
  type RawHeader,
  rawHeader,
} from '../fixtures/raw-tar.js';
import {
  BUILD_TIMEOUT_MS,
  buildTarEvents,
  contentOf,
  readTar,
  type TarReading,
} from '../fixtures/tar-events.js';

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

describe('header blocks', () => {
  test('a plain file has all its fields and its data', async () => {
    const entry = await readOne(
      member(
        {
          name: 'a/b',
          mode: '0104755\0',
          uid: '0001750\0',
          gid: '0000012\0',
          mtime: '00000000017\0',
        },
        'hello',
      ),
    );
    expect(entry).toEqual({
      type: 'file',
      name: 'a/b',
      link: '',
      mode: 0o4755,
      uid: 1000,
      gid: 10,
      size: 5,
      mtime: ['15', 0],
      device: [0, 0],
      xattrs: {},
      data: [[0, 'hello']],
    });
  });

  test.each([
    ['0', 'file'],
    ['\0', 'file'],
    ['7', 'file'],
    ['1', 'hardlink'],
    ['2', 'symlink'],
    ['3', 'character'],
    ['4', 'block'],
    ['5', 'directory'],
    ['6', 'fifo'],
  ])('type %j is a %s', async (type, name) => {
    expect((await readOne(rawHeader({ type }))).type).toBe(name);
  });

  test.each<[string, RawHeader]>([
    ['ustar', { magic: 'ustar' }],
    ['v7', { magic: 'v7' }],
  ])('type NUL with a trailing slash is a directory (%s)', async (_, header) => {
    expect((await readOne(rawHeader({ ...header, type: '\0', name: 'd/' }))).type).toBe(
      'directory',
    );
  });

  test('type 0 with a trailing slash stays a file, as in Go', async () => {
    expect((await readOne(rawHeader({ type: '0', name: 'd/' }))).type).toBe('file');
  });

  test('device numbers are read for devices only', async () => {
    const header = { major: '0000012\0', minor: '0000377\0' };
    expect((await readOne(rawHeader({ ...header, type: '4' }))).device).toEqual([10, 255]);
    expect((await readOne(rawHeader({ ...header, major: 'junk', type: '5' }))).device).toEqual([
      0, 0,
    ]);
  });

  test('the prefix of ustar comes before the name', async () => {
    const header = { prefix: 'p'.repeat(155), name: 'n'.repeat(100) };
    expect((await readOne(rawHeader(header))).name).toBe(`${'p'.repeat(155)}/${'n'.repeat(100)}`);
  });

  test('v7 and GNU headers have no prefix', async () => {
    const times: RawHeader['patches'] = [[345, '00000000001\x0000000000002\0']];
    expect((await readOne(rawHeader({ magic: 'v7', prefix: 'p', name: 'n' }))).name).toBe('n');
    expect((await readOne(rawHeader({ magic: 'gnu', patches: times, name: 'n' }))).name).toBe('n');
  });

  test('a prefix in a GNU header is one where it cannot be times: Go before 1.8 wrote it', async () => {
    expect((await readOne(rawHeader({ magic: 'gnu', prefix: 'some/dir', name: 'n' }))).name).toBe(
      'some/dir/n',
    );
  });

  test('star has a prefix of 131 bytes, then times', async () => {
    const patches: RawHeader['patches'] = [
      [345, 'p'.repeat(131)],
      [476, '00000000001 00000000002 '],
      [508, 'tar\0'],
    ];
    expect((await readOne(rawHeader({ name: 'n', patches }))).name).toBe(`${'p'.repeat(131)}/n`);
  });

  test('base-256 numbers, negative ones too', async () => {
    const entry = await readOne(
      rawHeader({
        magic: 'gnu',
        uid: base256(3_000_000_000n, 8),
        gid: base256(4_294_967_294n, 8),
        mtime: base256(-12_345_678_901n, 12),
      }),
    );
    expect([entry.uid, entry.gid, entry.mtime]).toEqual([
      3_000_000_000,
      4_294_967_294,
      ['-12345678901', 0],
    ]);
  });

  test('octal numbers may be surrounded by blanks and NULs, or absent', async () => {
    const entry = await readOne(
      rawHeader({ mode: '   755 \0', uid: '\0\x0012 \0x', gid: Buffer.alloc(8), mtime: '' }),
    );
    expect([entry.mode, entry.uid, entry.gid, entry.mtime]).toEqual([0o755, 10, 0, ['0', 0]]);
  });

  test('a checksum of signed characters is accepted', async () => {
    const header = { name: Buffer.from('caf\xe9', 'latin1'), signedChecksum: true };
    expect((await readOne(rawHeader(header))).name).toBe('caf\xe9');
  });

  test.each<[string, RawHeader]>([
    ['a wrong checksum', { breakChecksum: true }],
    ['letters in a number', { uid: '12x\0' }],
    ['a negative size', { size: base256(-1n, 12) }],
    ['a size beyond 2^60', { size: base256(1n << 61n, 12) }],
    ['a number of more than 63 bits', { size: base256(1n << 70n, 12) }],
    ['a negative uid', { uid: base256(-1n, 8) }],
    ['a uid beyond 32 bits', { uid: base256(1n << 32n, 8) }],
    ['the uid -1 of chown(2)', { uid: base256(0xffffffffn, 8) }],
    ['a device major beyond 12 bits', { type: '3', major: '0010000\0' }],
    ['a device minor beyond 20 bits', { type: '3', minor: '4000000\0' }],
  ])('%s is BAD_TAR', async (_, header) => {
    expect(await refusal(tarOf(rawHeader(header)))).toMatch(/^BAD_TAR: /);
  });

  test.each(['V', 'M', 'D', 'X', 'A', 'N', 'I', 'E', '8', 'z'])(
    'type %s is refused by name',
    async (type) => {
      expect(await refusal(tarOf(rawHeader({ name: 'odd', type })))).toMatch(
        /^REFUSED_ENTRY: .*"odd".*no layer may have/,
      );
    },
  );
});

describe('data', () => {
  test.each(['1', '2', '3', '4', '5', '6'])(
    'the size of type %s is ignored and no data follows, as in Go',
    async (type) => {
      const { entries } = await readTar(
        tarOf(
          rawHeader({ type, name: 'first', link: 'x', size: 700 }),
          rawHeader({ name: 'next' }),
        ),
      );
      expect(entries.map(({ name, size }) => [name, size])).toEqual([
        ['first', 0],
        ['next', 0],
      ]);
    },
  );

  test.each([0, 1, 511, 512, 513, 1024])('%i bytes of data', async (size) => {
    const content = Buffer.alloc(size, 'x');
    const { entries } = await readTar(tarOf(member({ name: 'f' }, content), member({ name: 'g' })));
    expect(contentOf(entries[0] as never)).toEqual(content);
    expect(entries).toHaveLength(2);
  });
});

describe('the end', () => {
  const file = member({ name: 'f' }, 'data');

  async function outcome(tar: Buffer): Promise<string | undefined> {
    const reading: TarReading = await readTar(tar);
    return reading.code ?? `${reading.entries.length} entries, ${reading.tarBytes} bytes`;
  }

  test.each<[string, Buffer, string]>([
    ['nothing at all', Buffer.alloc(0), '0 entries, 0 bytes'],
    ['only the end', END, '0 entries, 1024 bytes'],
    ['no zero block', file, '1 entries, 1024 bytes'],
    ['one zero block', Buffer.concat([file, Buffer.alloc(512)]), '1 entries, 1536 bytes'],
    [
      'zeros after the end',
      Buffer.concat([file, END, Buffer.alloc(8999)]),
      '1 entries, 11047 bytes',
    ],
    [
      'anything after the end',
      Buffer.concat([file, END, Buffer.from('junk')]),
      '1 entries, 2052 bytes',
    ],
    [
      'another member after one zero block',
      Buffer.concat([file, Buffer.alloc(512), file]),
      'BAD_TAR',
    ],
    ['cut in a header', file.subarray(0, 300), 'TRUNCATED'],
    ['cut in the data', file.subarray(0, 514), 'TRUNCATED'],
    ['cut in the padding', file.subarray(0, 700), 'TRUNCATED'],
    ['cut before the data', file.subarray(0, 512), 'TRUNCATED'],
    ['cut after an extended header', pax([['path', 'x']]), 'TRUNCATED'],
    ['ended after an extended header', tarOf(pax([['path', 'x']])), 'BAD_TAR'],
    ['cut in the zeros', Buffer.concat([file, Buffer.alloc(100)]), 'TRUNCATED'],
  ])('%s', async (_, tar, expected) => {
    expect(await outcome(tar)).toBe(expected);
  });
});

describe('GNU extensions', () => {
  test('long names and links, in any order, for one entry', async () => {
    const name = 'n'.repeat(4000);
    const link = 'l'.repeat(3000);
    const { entries } = await readTar(
      tarOf(
        gnuLong('K', link),
        gnuLong('L', name),
        rawHeader({ magic: 'gnu', type: '2' }),
        rawHeader({ magic: 'gnu', name: 'next' }),
      ),
    );
    expect(entries.map((entry) => [entry.name, entry.link])).toEqual([
      [name, link],
      ['next', ''],
    ]);
  });

  test('a long name goes before the path of a pax header, as in Go', async () => {
    expect((await readOne(gnuLong('L', 'gnu'), pax([['path', 'pax']]), rawHeader({}))).name).toBe(
      'gnu',
    );
  });

  test('a NUL inside a long name is BAD_TAR', async () => {
    expect(await refusal(tarOf(gnuLong('L', 'a\0b'), rawHeader({})))).toMatch(/^BAD_TAR: .*NUL/);
  });

  test('a long name of more than 1 MiB is not even read', async () => {
    const tar = tarOf(rawHeader({ type: 'L', magic: 'gnu', size: 2 ** 33 - 1 }));
    expect(await refusal(tar)).toMatch(/^LIMIT_EXCEEDED: An extended header has 8589934591 bytes/);
  });
});

describe('bounds of a whole tar', () => {
  const tar = tarOf(...['a', 'b', 'c'].map((name) => member({ name: name.repeat(100) }, 'x')));

  test('entries', async () => {
    expect((await readTar(tar, { maxEntries: 3 })).code).toBeUndefined();
    const { code, message } = await readTar(tar, { maxEntries: 2 });
    expect([code, message]).toEqual(['LIMIT_EXCEEDED', expect.stringContaining('maxEntries')]);
  });

  test('metadata', async () => {
    const { code, message } = await readTar(tar, { maxMetadataBytes: 300 });
    expect([code, message]).toEqual([
      'LIMIT_EXCEEDED',
      expect.stringContaining('maxMetadataBytes'),
    ]);
  });

  test('messages show hostile names escaped and cut, with the position', async () => {
    const name = `\x1b[31m"${'x'.repeat(500)}`;
    const message = await refusal(tarOf(pax([['path', name]]), rawHeader({ type: 'V' })));
    expect(message).toMatch(/"\\x1b\[31m"x+…" .*\(at byte \d+ of the tar/);
    expect(message.length).toBeLessThan(700);
  });
});
