import { close } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { NativeBinding } from '../native.js';

/**
 * Locks between processes that share a root, by name: files in `<root>/locks`, held as flocks, so that they end with their process. The files stay:
 * removing one while another process waits for it would give two processes the same lock.
 */
export class LayerLocks {
  readonly #directory: string;
  readonly #native: Pick<NativeBinding, 'lockFile'>;

  constructor(directory: string, native: Pick<NativeBinding, 'lockFile'>) {
    this.#directory = directory;
    this.#native = native;
  }

  /**
   * Runs `action` while holding the lock `name`, which excludes other callers of this process too.
   * @throws the reason of `signal`; the lock is then given back as soon as it comes.
   */
  async hold<T>(
    name: string,
    {
      signal,
      action,
    }: { readonly signal?: AbortSignal | undefined; readonly action: () => Promise<T> },
  ): Promise<T> {
    const fd = (await this.#tryLock(name)) ?? (await this.#wait(name, signal));
    try {
      return await action();
    } finally {
      await closeDescriptor(fd);
    }
  }

  /** As {@link hold}, but gives undefined at once when another process has the lock. */
  async holdIfFree<T>(name: string, action: () => Promise<T>): Promise<T | undefined> {
    const fd = await this.#tryLock(name);
    if (fd === null) return undefined;
    try {
      return await action();
    } finally {
      await closeDescriptor(fd);
    }
  }

  async #tryLock(name: string): Promise<number | null> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    return this.#native.lockFile(join(this.#directory, name), { exclusive: true, wait: false });
  }

  async #wait(name: string, signal: AbortSignal | undefined): Promise<number> {
    signal?.throwIfAborted();
    const locked = this.#native.lockFile(join(this.#directory, name), {
      exclusive: true,
      wait: true,
    }) as Promise<number>;
    if (signal === undefined) return locked;
    return new Promise<number>((resolve, reject) => {
      const leave = () => {
        reject(signal.reason);
        // A wait cannot be called off; what comes of it is given back.
        locked.then(closeDescriptor, () => undefined);
      };
      signal.addEventListener('abort', leave, { once: true });
      locked.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave));
    });
  }
}

function closeDescriptor(fd: number): Promise<void> {
  // A failed close of a lock file has no meaning: the lock ends with it all the same.
  return new Promise((resolve) => close(fd, () => resolve()));
}
