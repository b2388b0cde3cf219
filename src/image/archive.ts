import { createWriteStream, constants as fsConstants } from 'node:fs';
import { type FileHandle, open, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { NotFoundError } from '../errors.js';
import { nameFullDisk } from './full-disk.js';
import { ArchiveError, findTarFile, readTarIndex, type TarEntry } from './tar-index.js';

/** Read access to the files of an image archive: an OCI layout directory or a tar. */
export interface Archive {
  /** Undefined when there is no such file. @throws ArchiveError when it has more than `maxBytes`. */
  read(name: string, maxBytes: number): Promise<Buffer | undefined>;
  /** Undefined when there is no such file. */
  size(name: string): Promise<number | undefined>;
  /** @throws ArchiveError when there is no such file. */
  stream(name: string): AsyncIterable<Uint8Array>;
  /** Opens a file that the caller closes; absent where files are no files of their own. @throws ArchiveError when there is none. */
  openFile?(name: string): Promise<FileHandle>;
  close(): Promise<void>;
}

export interface OpenArchiveOptions {
  /** Private path for a copy, for archives that are compressed or come through a pipe. */
  readonly temporaryPath: string;
  readonly signal?: AbortSignal | undefined;
}

const CHUNK_BYTES = 256 * 1024;
const GZIP_MAGIC = Buffer.from([0x1f, 0x8b]);
const ZSTD_MAGIC = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);

/**
 * Opens an image archive: a directory, a tar file, a gzipped tar file, or a stream of either.
 * @throws NotFoundError, ArchiveError
 */
export async function openArchive(
  source: string | Readable,
  options: OpenArchiveOptions,
): Promise<Archive> {
  if (typeof source !== 'string') return openCopy(source, options);
  const stats = await stat(source).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    throw new NotFoundError(`Cannot load "${source}": no such file or directory`);
  });
  if (stats.isDirectory()) return new DirectoryArchive(source);
  if (!stats.isFile()) return openCopy((await open(source)).createReadStream(), options);
  const file = await open(source);
  try {
    const magic = await readRange(file, { offsetBytes: 0, sizeBytes: Math.min(4, stats.size) });
    if (magic.subarray(0, 2).equals(GZIP_MAGIC)) {
      return await openCopy(file.createReadStream({ autoClose: true }), options);
    }
    if (magic.equals(ZSTD_MAGIC)) {
      throw new ArchiveError('It is compressed by zstd as a whole; decompress it first (zstd -d)');
    }
    return new TarArchive(file, await readTarIndex(file));
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Copies a stream to a private file, decompressed, since a tar must be read in its own order otherwise. */
async function openCopy(
  source: Readable,
  { temporaryPath, signal }: OpenArchiveOptions,
): Promise<Archive> {
  try {
    const output = createWriteStream(temporaryPath, { flags: 'wx', mode: 0o600 });
    await pipeline(Readable.from(maybeGunzip(source)), output, { ...(signal ? { signal } : {}) });
    const file = await open(temporaryPath);
    try {
      return new TarArchive(file, await readTarIndex(file), temporaryPath);
    } catch (error) {
      await file.close();
      throw error;
    }
  } catch (error) {
    source.destroy();
    await unlink(temporaryPath).catch(() => undefined);
    signal?.throwIfAborted();
    const code = String((error as { code?: unknown }).code ?? '');
    if (code.startsWith('Z_'))
      throw new ArchiveError('Its gzip stream is damaged', { cause: error });
    throw nameFullDisk(error, temporaryPath);
  }
}

async function* maybeGunzip(source: Readable): AsyncGenerator<Buffer> {
  const chunks = source[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let head = Buffer.alloc(0);
  while (head.byteLength < 2) {
    const { value, done } = await chunks.next();
    if (done) break;
    head = Buffer.concat([head, value]);
  }
  async function* whole() {
    if (head.byteLength > 0) yield head;
    yield* { [Symbol.asyncIterator]: () => chunks };
  }
  if (!head.subarray(0, 2).equals(GZIP_MAGIC)) yield* whole();
  else
    yield* Readable.from(whole()).pipe(
      createGunzip({ chunkSize: CHUNK_BYTES }),
    ) as AsyncIterable<Buffer>;
}

/** An OCI layout directory. Links are not followed and only regular files are read: the directory may come from anywhere. */
class DirectoryArchive implements Archive {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async read(name: string, maxBytes: number): Promise<Buffer | undefined> {
    const file = await this.#open(name);
    if (file === undefined) return undefined;
    try {
      const { size } = await file.stat();
      assertSize(name, { size, maxBytes });
      return await file.readFile();
    } finally {
      await file.close();
    }
  }

  async size(name: string): Promise<number | undefined> {
    const file = await this.#open(name);
    try {
      return (await file?.stat())?.size;
    } finally {
      await file?.close();
    }
  }

  async *stream(name: string): AsyncGenerator<Uint8Array> {
    const file = await this.openFile(name);
    yield* file.createReadStream({ highWaterMark: CHUNK_BYTES }) as AsyncIterable<Buffer>;
  }

  async openFile(name: string): Promise<FileHandle> {
    const file = await this.#open(name);
    if (file === undefined) throw new ArchiveError(`The file "${name}" is missing`);
    return file;
  }

  async close(): Promise<void> {}

  async #open(name: string): Promise<FileHandle | undefined> {
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fsConstants;
    const file = await open(join(this.#directory, name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
        throw new ArchiveError(`Cannot open "${name}": ${error.message}`, { cause: error });
      },
    );
    if (file === undefined || (await file.stat()).isFile()) return file;
    await file.close();
    throw new ArchiveError(`"${name}" is no regular file`);
  }
}

class TarArchive implements Archive {
  readonly #file: FileHandle;
  readonly #entries: ReadonlyMap<string, TarEntry>;
  /** Removed when the archive is closed. */
  readonly #temporaryPath: string | undefined;

  constructor(file: FileHandle, entries: ReadonlyMap<string, TarEntry>, temporaryPath?: string) {
    this.#file = file;
    this.#entries = entries;
    this.#temporaryPath = temporaryPath;
  }

  async read(name: string, maxBytes: number): Promise<Buffer | undefined> {
    const entry = findTarFile(this.#entries, name);
    if (entry === undefined) return undefined;
    assertSize(name, { size: entry.sizeBytes, maxBytes });
    return readRange(this.#file, entry);
  }

  async size(name: string): Promise<number | undefined> {
    return findTarFile(this.#entries, name)?.sizeBytes;
  }

  async *stream(name: string): AsyncGenerator<Uint8Array> {
    const entry = findTarFile(this.#entries, name);
    if (entry === undefined) throw new ArchiveError(`The file "${name}" is missing`);
    for (let position = 0; position < entry.sizeBytes; ) {
      const sizeBytes = Math.min(CHUNK_BYTES, entry.sizeBytes - position);
      yield await readRange(this.#file, { offsetBytes: entry.offsetBytes + position, sizeBytes });
      position += sizeBytes;
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
    if (this.#temporaryPath !== undefined) await unlink(this.#temporaryPath).catch(() => undefined);
  }
}

async function readRange(
  file: FileHandle,
  { offsetBytes, sizeBytes }: { readonly offsetBytes: number; readonly sizeBytes: number },
): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(sizeBytes);
  for (let filled = 0; filled < sizeBytes; ) {
    const { bytesRead } = await file.read(buffer, filled, sizeBytes - filled, offsetBytes + filled);
    if (bytesRead === 0) throw new ArchiveError('It is truncated');
    filled += bytesRead;
  }
  return buffer;
}

function assertSize(
  name: string,
  { size, maxBytes }: { readonly size: number; readonly maxBytes: number },
): void {
  if (size > maxBytes) throw new ArchiveError(`"${name}" has ${size} bytes, more than ${maxBytes}`);
}
