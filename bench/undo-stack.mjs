/**
 * Something that is to be undone: a mount, a process, a cgroup.
 * @typedef {{ close(): Promise<void> | void }} Closable
 */

/** Says that the benchmark is being ended by a signal; nobody needs to report it. */
export class InterruptedError extends Error {
  constructor() {
    super('Interrupted');
    this.name = 'InterruptedError';
  }
}

/**
 * What stands at the moment and must not stay: closed by whoever opened it, or all of it, newest first, when a signal ends the run.
 * Closing twice is closing once.
 */
export class UndoStack {
  /** @type {Set<() => Promise<void>>} */
  #closers = new Set();
  /** @type {Promise<Error[]> | undefined} */
  #closingAll;

  get isClosing() {
    return this.#closingAll !== undefined;
  }

  /**
   * Opens something, which from then on is closed with the rest. A signal in the middle of opening waits for its end.
   * @template {Closable} T
   * @param {() => Promise<T>} opener
   * @returns {Promise<{ readonly opened: T, readonly close: () => Promise<void> }>}
   * @throws InterruptedError when everything is being closed
   */
  async open(opener) {
    if (this.isClosing) throw new InterruptedError();
    const opening = opener();
    /** @type {Promise<void> | undefined} */
    let closing;
    const closeOnce = async () => {
      // An opener that failed has undone its own steps, and its caller knows why.
      const opened = await opening.catch(() => undefined);
      await opened?.close();
    };
    const close = () => {
      closing ??= closeOnce().finally(() => this.#closers.delete(close));
      return closing;
    };
    this.#closers.add(close);
    try {
      const opened = await opening;
      if (this.isClosing) throw new InterruptedError();
      return { opened, close };
    } catch (error) {
      if (!this.isClosing) this.#closers.delete(close);
      throw error;
    }
  }

  /** Closes everything, newest first, whatever fails on the way; returns the failures. Nothing can be opened any more. */
  closeAll() {
    this.#closingAll ??= this.#closeInOrder();
    return this.#closingAll;
  }

  async #closeInOrder() {
    /** @type {Error[]} */
    const failures = [];
    for (const close of [...this.#closers].reverse()) {
      try {
        await close();
      } catch (error) {
        failures.push(error instanceof Error ? error : new Error(String(error)));
      }
    }
    return failures;
  }
}
