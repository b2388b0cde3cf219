const LOG_MAX_CHARS = 16 * 2 ** 20;

/** What processes print: kept up to its last 16 MiB, and handed out line by line. */
export class OutputLog {
  text = '';
  /** @type {string[]} Lines that nobody has waited for yet. */
  #lines = [];
  #listeners = new Set(/** @type {(() => void)[]} */ ([]));

  /** @param {readonly (import('node:stream').Readable | null)[]} streams whose lines are told apart */
  constructor(streams) {
    for (const stream of streams) {
      let rest = '';
      stream?.setEncoding('utf8').on('data', (/** @type {string} */ chunk) => {
        this.text = (this.text + chunk).slice(-LOG_MAX_CHARS);
        const lines = (rest + chunk).split('\n');
        rest = lines.pop() ?? '';
        if (lines.length === 0) return;
        this.#lines.push(...lines);
        for (const listener of this.#listeners) listener();
      });
    }
  }

  /**
   * Resolves when a line matches. That line and those before it are then behind us: the next call looks at what follows them, so that questions and
   * answers of the same form can be told apart.
   * @param {RegExp} pattern
   * @param {AbortSignal} signal ends the waiting without a result
   * @returns {Promise<void>}
   */
  waitFor(pattern, signal) {
    return new Promise((resolve) => {
      const look = () => {
        const index = this.#lines.findIndex((line) => line.search(pattern) >= 0);
        if (index < 0) return;
        this.#lines.splice(0, index + 1);
        forget();
        resolve();
      };
      const forget = () => {
        this.#listeners.delete(look);
      };
      this.#listeners.add(look);
      signal.addEventListener('abort', forget, { once: true });
      look();
    });
  }
}
