import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
} from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { runCommand } from './command.mjs';

/**
 * What is compared of one file, by what it is called in a message.
 * @typedef {Readonly<Record<string, string | number | bigint>>} TreeEntry
 *
 * Entries by path relative to the root, which is `.`; names are read as Latin-1, so that every byte shows.
 * @typedef {ReadonlyMap<string, TreeEntry>} TreeListing
 */

const BUFFER_BYTES = 4 * 2 ** 20;
const DIFFERENCES_MAX = 20;

/** Those that come from layers; others, as of overlayfs or SELinux, belong to the machine. */
const XATTRS = '^(user\\.|security\\.capability$)';

/**
 * Reads a tree with the contents of all files: 50,000 entries or 1.4 GB take some seconds when they are in the page cache.
 * @param {string} directory
 * @returns {Promise<TreeListing>}
 */
export async function describeTree(directory) {
  const xattrs = await readXattrs(directory);
  const buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  const root = Buffer.from(directory).toString('latin1');
  /** @type {Map<string, TreeEntry>} */
  const listing = new Map();
  const { mtime: _, ...rootEntry } = describeFile(Buffer.from(root, 'latin1'), buffer);
  // A runtime mounts a layer of its own over the image, and the root shows that one's time.
  listing.set('.', { ...rootEntry, ...xattrs.get('.') });

  /** @param {string} below */
  const visit = async (below) => {
    // Others on this thread, signals for one, get their turn now and then.
    await nextTurn();
    const base = below === '' ? root : `${root}/${below}`;
    for (const name of readdirSync(Buffer.from(base, 'latin1'), { encoding: 'latin1' }).sort()) {
      const path = below === '' ? name : `${below}/${name}`;
      const entry = describeFile(Buffer.from(`${base}/${name}`, 'latin1'), buffer);
      listing.set(path, { ...entry, ...xattrs.get(path) });
      if (entry['type'] === 'directory') await visit(path);
    }
  };
  await visit('');
  return listing;
}

/**
 * @param {Buffer} path
 * @param {Buffer} buffer
 * @returns {TreeEntry}
 */
function describeFile(path, buffer) {
  const status = lstatSync(path, { bigint: true });
  const common = {
    owner: `${status.uid}:${status.gid}`,
    mtime: `${status.mtimeNs / 1_000_000_000n}.${String(status.mtimeNs % 1_000_000_000n).padStart(9, '0')}`,
  };
  if (status.isSymbolicLink()) {
    return { type: 'symlink', ...common, target: readlinkSync(path, { encoding: 'latin1' }) };
  }
  const mode = (status.mode & 0o7777n).toString(8);
  // File systems differ in how they count directories: in links and in bytes.
  if (status.isDirectory()) return { type: 'directory', ...common, mode };
  const links = status.nlink;
  if (status.isFile()) {
    const content = digestFile(path, buffer);
    return { type: 'file', ...common, mode, links, size: status.size, content };
  }
  if (status.isFIFO()) return { type: 'fifo', ...common, mode, links };
  const device = status.rdev;
  if (status.isCharacterDevice()) return { type: 'character', ...common, mode, links, device };
  if (status.isBlockDevice()) return { type: 'block', ...common, mode, links, device };
  return { type: 'socket', ...common, mode, links };
}

/**
 * @param {Buffer} path
 * @param {Buffer} buffer
 */
function digestFile(path, buffer) {
  const hash = createHash('sha256');
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    for (;;) {
      const count = readSync(fd, buffer, 0, buffer.length, null);
      if (count === 0) return hash.digest('hex');
      hash.update(buffer.subarray(0, count));
    }
  } finally {
    closeSync(fd);
  }
}

/**
 * Node reads no extended attributes; getfattr reads those of a whole tree at once.
 * @param {string} directory
 * @returns {Promise<Map<string, Record<string, string>>>} values in hexadecimal, by path and name
 */
async function readXattrs(directory) {
  const args = ['-R', '-P', '-h', '-d', '-m', XATTRS, '-e', 'hex', '.'];
  const output = await runCommand('getfattr', args, { cwd: directory });
  /** @type {Map<string, Record<string, string>>} */
  const found = new Map();
  for (const block of output.split('\n\n')) {
    const [head = '', ...lines] = block.split('\n').filter((line) => line !== '');
    if (head === '') continue;
    const path = unescapeName(head.replace(/^# file: /, '')).replace(/^\.\//, '');
    found.set(path, Object.fromEntries(lines.map((line) => [`xattr ${line.split('=')[0]}`, line])));
  }
  return found;
}

/**
 * getfattr writes bytes that a terminal would not take as `\012`; others are UTF-8 here.
 * @param {string} text
 */
function unescapeName(text) {
  return Buffer.from(text)
    .toString('latin1')
    .replace(/\\([0-7]{3})/g, (_, digits) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/**
 * In what `other` differs from `reference`, a line for each file; at most twenty, and then how many more.
 * @param {TreeListing} reference
 * @param {TreeListing} other
 * @returns {string[]}
 */
export function compareTrees(reference, other) {
  /** @type {string[]} */
  const differences = [];
  for (const [path, expected] of reference) {
    const actual = other.get(path);
    if (actual === undefined) {
      differences.push(`${path}: is missing`);
      continue;
    }
    const keys = new Set([...Object.keys(expected), ...Object.keys(actual)]);
    const unlike = [...keys].filter((key) => expected[key] !== actual[key]);
    if (unlike.length === 0) continue;
    const list = unlike.map(
      (key) => `${key} ${show(actual[key])} in place of ${show(expected[key])}`,
    );
    differences.push(`${path}: ${list.join(', ')}`);
  }
  for (const path of other.keys()) {
    if (!reference.has(path)) differences.push(`${path}: should not be there`);
  }
  const more = differences.length - DIFFERENCES_MAX;
  if (more <= 0) return differences;
  return [...differences.slice(0, DIFFERENCES_MAX), `and ${more} more`];
}

/** @param {string | number | bigint | undefined} value */
function show(value) {
  return value === undefined ? 'none' : String(value).slice(0, 80);
}
