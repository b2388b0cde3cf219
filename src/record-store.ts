import { closeSync, fstatSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type Database, open, type RootDatabase } from 'lmdb';
import { NativeError } from './errors.js';

/** One kind of record, by id. Values are plain JSON-like objects, shared between readers: nobody changes one in place. */
export interface Collection<T> {
  get(id: string): T | undefined;
  has(id: string): boolean;
  /** All records, in the order of their ids. */
  list(): { readonly id: string; readonly value: T }[];
  /** Durable when the promise settles. */
  put(id: string, value: T, options?: WriteOptions): Promise<void>;
  /** Durable when the promise settles; absent is success. Always `essential`: removing must work on a full disk. */
  remove(id: string): Promise<void>;
  /**
   * Reads, changes and writes one record while no other process or caller can; returning undefined removes it.
   * `change` must be synchronous and without side effects. Durable when the promise settles.
   */
  update(
    id: string,
    change: (current: T | undefined) => T | undefined,
    options?: WriteOptions,
  ): Promise<T | undefined>;
}

/** How a write behaves when the disk is full. */
export interface WriteOptions {
  /** May use the space kept in reserve: for records of stop, exit and remove, which must be written on a full disk too. */
  readonly essential?: boolean;
  /**
   * Committed and synced by a thread of lmdb's: on a disk with much to write, that takes up to a second in which the caller's thread would stand still.
   * Nobody sees the change before the promise settles; without it, the caller sees it at once.
   */
  readonly inBackground?: boolean;
}

/**
 * Records of one root in LMDB, shared by every process that uses the root: a write transaction excludes the others, readers see the last commit.
 * A write resolves when it is on the disk.
 * @throws NativeError `ENOSPC` when the disk or the map is full: nothing was written then.
 */
export class RecordStore {
  readonly #root: RootDatabase;
  readonly #collections = new Map<string, Database>();
  readonly #space: DatabaseSpace;

  private constructor(root: RootDatabase, space: DatabaseSpace) {
    this.#root = root;
    this.#space = space;
  }

  static open(directory: string): RecordStore {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const root = open({
      path: directory,
      maxDbs: 16,
      encoding: 'json',
      mapSize: 256 * 2 ** 20,
      noMemInit: false,
    });
    return new RecordStore(root, new DatabaseSpace(root, join(directory, 'data.mdb')));
  }

  collection<T>(name: string): Collection<T> {
    let database = this.#collections.get(name);
    if (database === undefined) {
      database = this.#root.openDB({ name, encoding: 'json' });
      this.#collections.set(name, database);
    }
    return new LmdbCollection<T>(this, database as Database<T, string>);
  }

  /**
   * Runs `action` in one exclusive write transaction over all collections; reads inside see earlier writes of the same transaction. When it throws, nothing
   * is written. `action` must be synchronous. Durable when the promise settles.
   */
  async transaction<T>(
    action: (write: TransactionWriter) => T,
    options: WriteOptions = {},
  ): Promise<T> {
    const work = (): T => {
      this.#space.ensure(options);
      return action({
        put: (collection, id, value) =>
          void (collection as LmdbCollection<unknown>).database.putSync(id, value),
        remove: (collection, id) =>
          void (collection as LmdbCollection<unknown>).database.removeSync(id),
      });
    };
    let result: T;
    try {
      // A child, since it alone is undone when `action` throws.
      result =
        options.inBackground === true
          ? await this.#root.childTransaction(work)
          : (this.#root.transactionSync(work) as T);
    } catch (error) {
      throw translate(error);
    }
    await this.#root.flushed;
    return result;
  }

  async close(): Promise<void> {
    await this.#root.close();
    this.#space.close();
  }
}

/**
 * Disk blocks allocated ahead of what LMDB uses, by zeros written behind its last page. Two reasons: stop and remove need space for
 * their records when the disk is full, and LMDB must never meet ENOSPC itself (lmdb 3.5 corrupts its heap on a failed write and the process aborts).
 * A file system that copies on write keeps no such promise; there the error of the reserve is still met first, in JavaScript.
 */
class DatabaseSpace {
  /** Kept for essential writes; hundreds of records are rewritten in it, since LMDB reuses the pages of removed ones. */
  static readonly RESERVE_BYTES = 2 ** 20;
  /** What one essential transaction may need at most. */
  static readonly MINIMUM_BYTES = 128 * 2 ** 10;
  static readonly #ZEROS = Buffer.alloc(256 * 2 ** 10);

  readonly #root: RootDatabase;
  readonly #fd: number;

  constructor(root: RootDatabase, path: string) {
    this.#root = root;
    this.#fd = openSync(path, 'r+');
  }

  /**
   * Call inside a write transaction: its lock keeps other writers, who might write where the zeros go, away.
   * @throws an error with code ENOSPC when the disk is full (for essential writes: and the reserve is used up).
   */
  ensure(options: WriteOptions): void {
    const stats = this.#root.getStats() as { pageSize: number; lastPageNumber: number };
    const usedBytes = (stats.lastPageNumber + 1) * stats.pageSize;
    let sizeBytes = fstatSync(this.#fd).size;
    try {
      while (sizeBytes < usedBytes + DatabaseSpace.RESERVE_BYTES) {
        sizeBytes += writeSync(this.#fd, DatabaseSpace.#ZEROS, 0, undefined, sizeBytes);
      }
    } catch (error) {
      const enough = sizeBytes >= usedBytes + DatabaseSpace.MINIMUM_BYTES;
      if (options.essential !== true || !enough) throw error;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** Writes inside {@link RecordStore.transaction}. */
export interface TransactionWriter {
  put<T>(collection: Collection<T>, id: string, value: T): void;
  remove<T>(collection: Collection<T>, id: string): void;
}

class LmdbCollection<T> implements Collection<T> {
  readonly database: Database<T, string>;
  readonly #store: RecordStore;
  /** Values by id, with the bytes that they were made from: comparing bytes costs a hundredth of parsing them, and sees what other processes wrote. */
  readonly #parsed = new Map<string, { readonly bytes: Buffer; readonly value: T }>();

  constructor(store: RecordStore, database: Database<T, string>) {
    this.#store = store;
    this.database = database;
  }

  get(id: string): T | undefined {
    const found = this.database.getBinaryFast(id);
    if (found === undefined) {
      this.#parsed.delete(id);
      return undefined;
    }
    // lmdb hands out a larger buffer whose `length` alone says where the value ends; a view of its own has no such trap.
    const bytes = found.subarray(0, found.length);
    const known = this.#parsed.get(id);
    if (known?.bytes.equals(bytes) === true) return known.value;
    // The bytes are valid until the next read.
    const value = JSON.parse(bytes.toString('utf8')) as T;
    this.#parsed.set(id, { bytes: Buffer.from(bytes), value });
    return value;
  }

  has(id: string): boolean {
    return this.database.doesExist(id);
  }

  list(): { readonly id: string; readonly value: T }[] {
    const ids = [...this.database.getKeys()];
    const list = ids.flatMap((id) => {
      const value = this.get(id);
      return value === undefined ? [] : [{ id, value }];
    });
    if (this.#parsed.size > list.length) this.#forget(new Set(ids));
    return list;
  }

  put(id: string, value: T, options?: WriteOptions): Promise<void> {
    return this.#store.transaction((write) => write.put(this, id, value), options);
  }

  #forget(present: ReadonlySet<string>): void {
    for (const id of this.#parsed.keys()) if (!present.has(id)) this.#parsed.delete(id);
  }

  remove(id: string): Promise<void> {
    return this.#store.transaction((write) => write.remove(this, id), { essential: true });
  }

  update(
    id: string,
    change: (current: T | undefined) => T | undefined,
    options?: WriteOptions,
  ): Promise<T | undefined> {
    return this.#store.transaction((write) => {
      const next = change(this.database.get(id));
      if (next === undefined) write.remove(this, id);
      else write.put(this, id, next);
      return next;
    }, options);
  }
}

function translate(error: unknown): unknown {
  const text = error instanceof Error ? error.message : String(error);
  if (!/MDB_MAP_FULL|No space left|ENOSPC/.test(text)) return error;
  return new NativeError({
    code: 'ENOSPC',
    errnoCode: 'ENOSPC',
    message: `Cannot write records, the disk is full: ${text}`,
    cause: error,
  });
}
