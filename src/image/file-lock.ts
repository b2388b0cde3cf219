import { closeSync } from 'node:fs';
import type { NativeBinding } from '../native.js';

export type LockNative = Pick<NativeBinding, 'lockFile'>;

export interface FileLockOptions {
  readonly exclusive: boolean;
  /** False: gives up at once when another process or caller holds it. */
  readonly wait: boolean;
}

/** A flock, held until it is released or the process ends. */
export class FileLock {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** Takes the lock; undefined when it is taken and `wait` is false. */
  static async take(
    native: LockNative,
    path: string,
    options: FileLockOptions,
  ): Promise<FileLock | undefined> {
    const fd = await native.lockFile(path, options);
    return fd === null ? undefined : new FileLock(fd);
  }

  /** Takes the lock, waiting for it, and holds it while `action` runs. */
  static async hold<T>(
    native: LockNative,
    { path, exclusive }: { readonly path: string; readonly exclusive: boolean },
    action: () => Promise<T>,
  ): Promise<T> {
    const lock = await FileLock.take(native, path, { exclusive, wait: true });
    try {
      return await action();
    } finally {
      lock?.release();
    }
  }

  release(): void {
    closeSync(this.#fd);
  }
}
