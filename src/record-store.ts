import { mkdirSync } from 'node:fs';
import { type Database, open, type RootDatabase } from 'lmdb';
import { NativeError } from './errors.js';

/** One kind of record, by id. Values are plain JSON-like objects. */
export interface Collection<T> {
  get(id: string): T | undefined;
  has(id: string): boolean;
  /** All records, in the order of their ids. */
  list(): { readonly id: string; readonly value: T }[];
  /** Durable when the promise settles. */
  put(id: string, value: T): Promise<void>;
  /** Durable when the promise settles; absent is success. */
  remove(id: string): Promise<void>;
  /**
   * Reads, changes and writes one record while no other process or caller can; returning undefined removes it.
   * `change` must be synchronous and without side effects. Durable when the promise settles.
   */
  update(id: string, change: (current: T | undefined) => T | undefined): Promise<T | undefined>;
}

/**
 * Records of one root in LMDB, shared by every process that uses the root: a write transaction excludes the others, readers see the last commit.
 * A write resolves when it is on the disk.
 * @throws NativeError `ENOSPC` when the disk or the map is full: nothing was written then.
 */
export class RecordStore {
  readonly #root: RootDatabase;
  readonly #collections = new Map<string, Database>();

  private constructor(root: RootDatabase) {
    this.#root = root;
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
    return new RecordStore(root);
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
  async transaction<T>(action: (write: TransactionWriter) => T): Promise<T> {
    let result: T;
    try {
      result = this.#root.transactionSync(() =>
        action({
          put: (collection, id, value) =>
            void (collection as LmdbCollection<unknown>).database.putSync(id, value),
          remove: (collection, id) =>
            void (collection as LmdbCollection<unknown>).database.removeSync(id),
        }),
      ) as T;
    } catch (error) {
      throw translate(error);
    }
    await this.#root.flushed;
    return result;
  }

  async close(): Promise<void> {
    await this.#root.close();
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

  constructor(store: RecordStore, database: Database<T, string>) {
    this.#store = store;
    this.database = database;
  }

  get(id: string): T | undefined {
    return this.database.get(id);
  }

  has(id: string): boolean {
    return this.database.doesExist(id);
  }

  list(): { readonly id: string; readonly value: T }[] {
    return [...this.database.getRange().map(({ key, value }) => ({ id: key, value }))];
  }

  put(id: string, value: T): Promise<void> {
    return this.#store.transaction((write) => write.put(this, id, value));
  }

  remove(id: string): Promise<void> {
    return this.#store.transaction((write) => write.remove(this, id));
  }

  update(id: string, change: (current: T | undefined) => T | undefined): Promise<T | undefined> {
    return this.#store.transaction((write) => {
      const next = change(this.database.get(id));
      if (next === undefined) write.remove(this, id);
      else write.put(this, id, next);
      return next;
    });
  }
}

function translate(error: unknown): unknown {
  const text = error instanceof Error ? error.message : String(error);
  if (!/MDB_MAP_FULL|No space left|ENOSPC/.test(text)) return error;
  return new NativeError({
    code: 'ENOSPC',
    errnoCode: 'ENOSPC',
    message: `Cannot write records: ${text}`,
    cause: error,
  });
}
