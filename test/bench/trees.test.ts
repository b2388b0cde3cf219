import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { compareTrees, describeTree } from '../../bench/trees.mjs';

/** A time without a fraction. */
const TIME_SECONDS = 1_700_000_000;

let directory: string;
let reference: string;
let other: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cais-trees-'));
  reference = makeTree('reference');
  other = makeTree('other');
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** One of everything that layers have. */
function makeTree(name: string): string {
  const root = join(directory, name);
  mkdirSync(join(root, 'directory'), { recursive: true });
  writeFileSync(join(root, 'directory/file'), 'content');
  writeFileSync(join(root, 'empty'), '');
  symlinkSync('directory/file', join(root, 'link'));
  execFileSync('mkfifo', [join(root, 'pipe')]);
  setTimes(root);
  return root;
}

function setTimes(root: string) {
  lutimesSync(join(root, 'link'), TIME_SECONDS, TIME_SECONDS);
  for (const path of ['directory/file', 'directory', 'empty', 'pipe', '.']) {
    utimesSync(join(root, path), TIME_SECONDS, TIME_SECONDS);
  }
}

async function differences(): Promise<string[]> {
  return compareTrees(await describeTree(reference), await describeTree(other));
}

test('compareTrees() finds nothing between trees that are alike', async () => {
  expect(await differences()).toEqual([]);
});

test('compareTrees() does not look at the time of the root', async () => {
  utimesSync(other, 0, 0);
  expect(await differences()).toEqual([]);
});

const CHANGES: [what: string, change: () => void, message: RegExp][] = [
  ['a missing file', () => rmSync(join(other, 'empty')), /^empty: is missing$/],
  ['a file too many', () => writeFileSync(join(other, 'new'), ''), /^new: should not be there$/],
  [
    'other content of the same size',
    () => writeFileSync(join(other, 'directory/file'), 'CONTENT'),
    /^directory\/file: content \w+ in place of \w+$/,
  ],
  ['another mode', () => chmodSync(join(other, 'empty'), 0o600), /^empty: mode 600 in place of/],
  [
    'another time',
    () => utimesSync(join(other, 'directory'), TIME_SECONDS + 1, TIME_SECONDS + 1),
    /^directory: mtime 1700000001.000000000 in place of 1700000000.000000000$/,
  ],
  [
    'another link target',
    () => {
      rmSync(join(other, 'link'));
      symlinkSync('elsewhere', join(other, 'link'));
    },
    /^link: target elsewhere in place of directory\/file$/,
  ],
  [
    'another type',
    () => {
      rmSync(join(other, 'empty'));
      mkdirSync(join(other, 'empty'));
    },
    /^empty: type directory in place of file/,
  ],
  [
    'a hard link in place of a copy',
    () => {
      const copy = join(reference, 'directory/copy');
      writeFileSync(copy, 'content');
      linkSync(join(other, 'directory/file'), join(other, 'directory/copy'));
    },
    /^directory\/copy: .*links 2 in place of 1$/,
  ],
  [
    'an attribute too many',
    () => execFileSync('setfattr', ['-n', 'user.a', '-v', 'b', join(other, 'directory/file')]),
    /^directory\/file: xattr user.a user.a=0x62 in place of none$/,
  ],
];

test.each(CHANGES)('compareTrees() finds %s', async (_, change, message) => {
  change();
  setTimesAgain();
  expect((await differences())[0]).toMatch(message);
});

/** A change within a directory changes its time too; only the test about times may show one. */
function setTimesAgain() {
  for (const root of [reference, other]) {
    execFileSync('find', [
      root,
      '-newermt',
      '@1700000001',
      '-exec',
      'touch',
      '-h',
      '-d',
      `@${TIME_SECONDS}`,
      '{}',
      '+',
    ]);
  }
}

test('compareTrees() tells of the first differences only, and how many more there are', async () => {
  for (let n = 0; n < 30; n++) writeFileSync(join(other, `new-${n}`), '');
  const found = await differences();
  expect(found).toHaveLength(21);
  expect(found.at(-1)).toBe('and 10 more');
});

test('describeTree() takes names that are no UTF-8', async () => {
  const name = Buffer.from([0xe9, 0x0a, 0xff]);
  writeFileSync(Buffer.concat([Buffer.from(`${reference}/`), name]), 'x');
  const tree = await describeTree(reference);
  expect(tree.get(name.toString('latin1'))).toMatchObject({ type: 'file', size: 1n });
});
