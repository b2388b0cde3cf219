import type { FileHandle } from 'node:fs/promises';
import { posix } from 'node:path';
import { RuntimeError } from '../errors.js';

/** An image archive cannot be read (`BAD_ARCHIVE`). */
export class ArchiveError extends RuntimeError {
  constructor(message: string, options?: { readonly cause?: unknown }) {
    super('BAD_ARCHIVE', message, options);
  }
}

/** Where one entry of a tar file is. */
export type TarEntry =
  | { readonly kind: 'file'; readonly offsetBytes: number; readonly sizeBytes: number }
  | { readonly kind: 'link'; readonly target: string };

const BLOCK_BYTES = 512;
const MAX_ENTRIES = 100_000;
/** Extended headers hold a name here; layers have their own, native reader. */
const MAX_EXTENSION_BYTES = 64 * 1024;

/**
 * Finds every regular file and link of an image archive (the outer tar, with a few entries of any size), without reading their content.
 * Names are normalised: no leading `./` or `/`. Of equal names the last counts.
 * @throws ArchiveError
 * @see POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format"
 */
export async function readTarIndex(file: FileHandle): Promise<Map<string, TarEntry>> {
  const { size: fileBytes } = await file.stat();
  const entries = new Map<string, TarEntry>();
  const block = Buffer.alloc(BLOCK_BYTES);
  let extension: Extension = {};
  for (let position = 0, count = 0; ; count++) {
    const { bytesRead } = await file.read(block, 0, BLOCK_BYTES, position);
    if (bytesRead < BLOCK_BYTES) {
      // Some writers leave the end marker out.
      if (bytesRead === 0 && count > 0 && position <= fileBytes) return entries;
      throw new ArchiveError('It is no tar file, or it is truncated');
    }
    if (block.every((byte) => byte === 0)) return entries;
    if (count >= MAX_ENTRIES) throw new ArchiveError(`It has more than ${MAX_ENTRIES} entries`);
    const header = parseHeader(block);
    const offsetBytes = position + BLOCK_BYTES;
    const sizeBytes = extension.sizeBytes ?? header.sizeBytes;
    if (offsetBytes + sizeBytes > fileBytes) throw new ArchiveError('It is truncated');
    position = offsetBytes + Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES;
    if (header.type in EXTENSION_READERS) {
      if (sizeBytes > MAX_EXTENSION_BYTES)
        throw new ArchiveError('It has an extended header that is too large');
      const content = Buffer.alloc(sizeBytes);
      await file.read(content, 0, sizeBytes, offsetBytes);
      extension = { ...extension, ...EXTENSION_READERS[header.type]?.(content) };
      continue;
    }
    const name = normalizeName(extension.name ?? header.name);
    const target = extension.target ?? header.target;
    extension = {};
    if (FILE_TYPES.includes(header.type))
      entries.set(name, { kind: 'file', offsetBytes, sizeBytes });
    else if (header.type === HARD_LINK)
      entries.set(name, { kind: 'link', target: normalizeName(target) });
    else if (header.type === SYMBOLIC_LINK) {
      entries.set(name, {
        kind: 'link',
        target: normalizeName(posix.join(posix.dirname(name), target)),
      });
    }
  }
}

/** Follows links inside the archive. Undefined when the name does not exist, or its links go in a circle. */
export function findTarFile(
  entries: ReadonlyMap<string, TarEntry>,
  name: string,
): Extract<TarEntry, { kind: 'file' }> | undefined {
  let entry = entries.get(normalizeName(name));
  for (let hops = 0; entry?.kind === 'link' && hops < 8; hops++) entry = entries.get(entry.target);
  return entry?.kind === 'file' ? entry : undefined;
}

const FILE_TYPES = ['0', '\0', '7'];
const HARD_LINK = '1';
const SYMBOLIC_LINK = '2';

/** What an extended header says of the entry behind it. */
interface Extension {
  readonly name?: string;
  readonly target?: string;
  readonly sizeBytes?: number;
}

const EXTENSION_READERS: Readonly<Record<string, (content: Buffer) => Extension>> = {
  L: (content) => ({ name: untilNul(content) }),
  K: (content) => ({ target: untilNul(content) }),
  x: readPax,
  g: () => ({}),
};

function readPax(content: Buffer): Extension {
  const found: { name?: string; target?: string; sizeBytes?: number } = {};
  for (let position = 0; position < content.length; ) {
    const space = content.indexOf(0x20, position);
    const length = Number(content.subarray(position, Math.max(space, position)).toString('latin1'));
    const end = position + length;
    const isSane =
      space !== -1 &&
      Number.isInteger(length) &&
      end > space + 1 &&
      end <= content.length &&
      content[end - 1] === 0x0a;
    if (!isSane) throw new ArchiveError('It has a malformed extended header');
    const record = content.subarray(space + 1, end - 1).toString('utf8');
    const equals = record.indexOf('=');
    const [key, value] = [record.slice(0, equals), record.slice(equals + 1)];
    if (key === 'path') found.name = value;
    if (key === 'linkpath') found.target = value;
    if (key === 'size')
      found.sizeBytes = checkedSize(/^[0-9]{1,16}$/.test(value) ? Number(value) : Number.NaN);
    position = end;
  }
  return found;
}

function parseHeader(block: Buffer): {
  name: string;
  type: string;
  sizeBytes: number;
  target: string;
} {
  const stored = Number.parseInt(
    block.toString('latin1', 148, 156).replace(/\0.*/s, '').trim() || 'x',
    8,
  );
  let sum = 8 * 0x20;
  for (let i = 0; i < BLOCK_BYTES; i++) if (i < 148 || i >= 156) sum += block[i] as number;
  if (sum !== stored)
    throw new ArchiveError('It is no tar file (checksum of a header does not match)');
  const name = untilNul(block.subarray(0, 100));
  const isPosix = block.toString('latin1', 257, 263) === 'ustar\0';
  const prefix = isPosix ? untilNul(block.subarray(345, 500)) : '';
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    type: String.fromCharCode(block[156] as number),
    sizeBytes: readSize(block.subarray(124, 136)),
    target: untilNul(block.subarray(157, 257)),
  };
}

/** Octal text, or base-256 when the top bit is set. */
function readSize(field: Buffer): number {
  if (((field[0] as number) & 0x80) !== 0) {
    const value = field
      .subarray(1)
      .reduce((sum, byte) => sum * 256 + byte, (field[0] as number) & 0x7f);
    return checkedSize(value);
  }
  const text = field.toString('latin1').replace(/\0.*/s, '').trim();
  return checkedSize(
    text === '' ? 0 : /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : Number.NaN,
  );
}

function checkedSize(size: number): number {
  if (!Number.isSafeInteger(size))
    throw new ArchiveError('It has an entry whose size makes no sense');
  return size;
}

function untilNul(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end === -1 ? bytes.length : end);
}

function normalizeName(name: string): string {
  return posix
    .normalize(name)
    .replace(/^(?:\.{0,2}\/)+/, '')
    .replace(/\/$/, '');
}
