import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadNative } from '../../src/native.js';
import { parseUser, resolveUser } from '../../src/runtime/user.js';

describe('parseUser()', () => {
  it.each([
    ['0', { user: 0, group: undefined }],
    ['007', { user: 7, group: undefined }],
    ['2147483647', { user: 2147483647, group: undefined }],
    ['app', { user: 'app', group: undefined }],
    ['1000:2000', { user: 1000, group: 2000 }],
    ['app:staff', { user: 'app', group: 'staff' }],
    ['1000:staff', { user: 1000, group: 'staff' }],
  ])('reads %j', (text, expected) => {
    expect(parseUser(text)).toEqual(expected);
  });

  it.each([
    '',
    '0x0',
    ' 1',
    '1 ',
    '1:',
    ':1',
    '-1',
    '+1',
    '1:2:3',
    '99999999999',
    '2147483648',
    '4294967295',
    '4294967296',
    '1:4294967296',
    '1e3',
    'a b',
    'root\n',
    'a/b',
    '.',
    '0'.repeat(50) + '9'.repeat(20),
    'ﬁ',
    '١',
  ])('refuses %j', (text) => {
    expect(() => parseUser(text)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });

  it('never gives root for a text that is not zero, and never an id of 2^31 or more', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.bigInt().map(String), fc.stringMatching(/^[0-9:x+-]*$/)),
        (text) => {
          let parsed: ReturnType<typeof parseUser>;
          try {
            parsed = parseUser(text);
          } catch {
            return;
          }
          if (parsed.user === 0) expect(text).toMatch(/^0+(:|$)/);
          for (const id of [parsed.user, parsed.group]) {
            if (typeof id === 'number') expect(id).toBeLessThan(2 ** 31);
          }
        },
      ),
    );
  });
});

describe('resolveUser()', () => {
  const native = loadNative();
  let root: string;
  let rootFd: number;

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'cais-user-'));
    mkdirSync(join(root, 'etc'));
    writeFileSync(
      join(root, 'etc/passwd'),
      [
        'root:x:0:0:root:/root:/bin/sh',
        '# a comment: with colons',
        'broken',
        'app:x:1000:1001::/home/app:/bin/sh',
        'wrap:x:4294967296:0::/:/bin/sh',
        '2147483648:x:0:0::/:/bin/sh',
        'app:x:0:0::/second:/bin/sh',
        'odd:x:5:6::relative:/bin/sh',
      ].join('\n'),
    );
    writeFileSync(
      join(root, 'etc/group'),
      'root:x:0:\napps:x:1001:\nwheel:x:10:root,app\nstaff:x:50:app,\nbad\nhuge:x:9999999999:\n',
    );
    rootFd = openSync(root, 'r');
  });
  afterEach(() => {
    closeSync(rootFd);
    rmSync(root, { recursive: true });
  });

  const resolve = (imageUser: string, security = {}) =>
    resolveUser(native, rootFd, { imageUser, security });

  it.each([
    ['', {}, { uid: 0, gid: 0, groups: [0, 10], home: '/root' }],
    ['app', {}, { uid: 1000, gid: 1001, groups: [1001, 10, 50], home: '/home/app' }],
    ['1000', {}, { uid: 1000, gid: 1001, groups: [1001, 10, 50], home: '/home/app' }],
    ['app:staff', {}, { uid: 1000, gid: 50, groups: [50, 10], home: '/home/app' }],
    ['4242', {}, { uid: 4242, gid: 0, groups: [0], home: '/' }],
    ['4242:77', {}, { uid: 4242, gid: 77, groups: [77], home: '/' }],
    ['odd', {}, { uid: 5, gid: 6, groups: [6], home: '/' }],
    ['app', { runAsUser: 0 }, { uid: 0, gid: 0, groups: [0, 10], home: '/root' }],
    [
      '',
      { runAsUserName: 'app' },
      { uid: 1000, gid: 1001, groups: [1001, 10, 50], home: '/home/app' },
    ],
    ['app', { runAsGroup: 9 }, { uid: 1000, gid: 9, groups: [9, 10, 50], home: '/home/app' }],
    [
      'app',
      { supplementalGroups: [3000, 10] },
      { uid: 1000, gid: 1001, groups: [1001, 10, 50, 3000], home: '/home/app' },
    ],
    [
      'app',
      { supplementalGroups: [3000], supplementalGroupsPolicy: 'Strict' },
      { uid: 1000, gid: 1001, groups: [1001, 3000], home: '/home/app' },
    ],
  ])('USER %j with %j', async (imageUser, security, expected) => {
    await expect(resolve(imageUser, security)).resolves.toEqual(expected);
  });

  it.each([
    ['nobody', {}, '/etc/passwd of the image'],
    ['app:nogroup', {}, '/etc/group of the image'],
    ['app:huge', {}, 'Invalid gid'],
    ['wrap', {}, 'Invalid uid'],
    // An entry of that name exists; digits are never a name.
    ['2147483648', {}, 'ids above'],
    ['', { runAsUser: 4294967296 }, 'runAsUser'],
    ['', { runAsUser: -1 }, 'runAsUser'],
    ['', { runAsUser: 1.5 }, 'runAsUser'],
    ['', { runAsGroup: 2 ** 31 }, 'runAsGroup'],
    ['', { supplementalGroups: [2 ** 32] }, 'supplementalGroups'],
  ])('refuses USER %j with %j', async (imageUser, security, text) => {
    await expect(resolve(imageUser, security)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(text),
    });
  });

  it('takes missing account files as empty', async () => {
    rmSync(join(root, 'etc'), { recursive: true });
    await expect(resolve('7:8')).resolves.toEqual({ uid: 7, gid: 8, groups: [8], home: '/' });
    await expect(resolve('app')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('refuses a sparse file of 2 GiB, a FIFO, and a link out of the root', async () => {
    const passwd = join(root, 'etc/passwd');
    truncateSync(passwd, 2 * 2 ** 30);
    await expect(resolve('app')).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' });
    rmSync(passwd);
    execFileSync('mkfifo', [passwd]);
    await expect(resolve('app')).rejects.toMatchObject({ code: 'NOT_A_REGULAR_FILE' });
    rmSync(passwd);
    symlinkSync('/../../../../../../etc/passwd', passwd);
    // Below the root the link points at itself: never the host's file.
    await expect(resolve('daemon')).rejects.toThrow();
  });
});
