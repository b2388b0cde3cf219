import type { ExitRecord } from './state.js';

interface Waiter {
  resolve(exit: ExitRecord): void;
  reject(error: unknown): void;
}

/** Who waits for the end of which container. */
export class ExitWaiters {
  readonly #waiters = new Map<string, Set<Waiter>>();

  has(id: string): boolean {
    return this.#waiters.has(id);
  }

  /** Settles by {@link settle} or {@link fail}, or rejects with the signal's reason. */
  async wait(id: string, options: { readonly signal?: AbortSignal }): Promise<ExitRecord> {
    const { signal } = options;
    signal?.throwIfAborted();
    let waiter: Waiter | undefined;
    let onAbort: (() => void) | undefined;
    try {
      return await new Promise<ExitRecord>((resolve, reject) => {
        waiter = { resolve, reject };
        const waiters = this.#waiters.get(id) ?? new Set();
        waiters.add(waiter);
        this.#waiters.set(id, waiters);
        onAbort = () => reject(signal?.reason);
        signal?.addEventListener('abort', onAbort, { once: true });
      });
    } finally {
      if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort);
      if (waiter !== undefined) this.#remove(id, waiter);
    }
  }

  settle(id: string, exit: ExitRecord): void {
    for (const waiter of this.#waiters.get(id) ?? []) waiter.resolve(exit);
  }

  fail(id: string, error: unknown): void {
    for (const waiter of this.#waiters.get(id) ?? []) waiter.reject(error);
  }

  failAll(error: unknown): void {
    for (const id of this.#waiters.keys()) this.fail(id, error);
  }

  #remove(id: string, waiter: Waiter): void {
    const waiters = this.#waiters.get(id);
    waiters?.delete(waiter);
    if (waiters?.size === 0) this.#waiters.delete(id);
  }
}
