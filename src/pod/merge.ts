/**
 * Merges streams that come and go into one, in the order in which their items arrive; at most one item of each stream is held.
 * Ends when `close` was called and every stream has ended. Leaving the iteration early ends the streams.
 */
export class Merge<T> implements AsyncIterable<T> {
  readonly #sources = new Set<AsyncIterator<T>>();
  /** Items that have arrived, each with what asks its source for the next one. */
  readonly #arrived: { readonly item: T; readonly advance: () => void }[] = [];
  #isClosed = false;
  #failure: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;

  /** @returns what settles when all of `source` was read, also when it failed. */
  add(source: AsyncIterable<T>): Promise<void> {
    const iterator = source[Symbol.asyncIterator]();
    this.#sources.add(iterator);
    return new Promise((resolve) => this.#advance(iterator, resolve));
  }

  /** No further stream will be added. */
  close(): void {
    this.#isClosed = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    try {
      for (;;) {
        const next = this.#arrived.shift();
        if (next !== undefined) {
          yield next.item;
          next.advance();
        } else if (this.#failure !== undefined) {
          throw this.#failure.error;
        } else if (this.#isClosed && this.#sources.size === 0) {
          return;
        } else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      }
    } finally {
      // Not awaited: a source may be waiting for something that never comes; its own signal ends it.
      for (const source of this.#sources) void source.return?.();
    }
  }

  #advance(iterator: AsyncIterator<T>, onEnd: () => void): void {
    iterator.next().then(
      (result) => {
        if (result.done === true) {
          this.#sources.delete(iterator);
          onEnd();
        } else {
          const advance = () => this.#advance(iterator, onEnd);
          this.#arrived.push({ item: result.value, advance });
        }
        this.#wake?.();
      },
      (error) => {
        this.#sources.delete(iterator);
        onEnd();
        this.#failure = { error };
        this.#wake?.();
      },
    );
  }
}
