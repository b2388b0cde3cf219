import { setTimeout as delay } from 'node:timers/promises';
import type { TerminalSize } from '../process-streams.js';

/** A client that knows its size sends it at once; one that does not must not wait for it. */
const FIRST_SIZE_TIMEOUT_MS = 20;
const MAX_CHARACTERS = 65_535;

/** Sizes of a client's terminal as they come; what is no size (0, too large) is left out. */
export class TerminalSizes {
  readonly #iterator: AsyncIterator<TerminalSize> | undefined;
  #next: Promise<IteratorResult<TerminalSize>> | undefined;
  #stopped = false;

  constructor(sizes: AsyncIterable<TerminalSize> | undefined) {
    this.#iterator = sizes?.[Symbol.asyncIterator]();
  }

  /** The size that is there already, so that a program never sees another one. */
  async first(): Promise<TerminalSize | undefined> {
    if (this.#iterator === undefined) return undefined;
    this.#next = this.#iterator.next();
    // Awaited in `follow` too; a failure means that no sizes come.
    this.#next.catch(() => undefined);
    const abort = new AbortController();
    const late = delay(FIRST_SIZE_TIMEOUT_MS, undefined, { signal: abort.signal }).catch(
      () => undefined,
    );
    const result = await Promise.race([this.#next.catch(() => undefined), late]);
    abort.abort();
    if (result === undefined) return undefined;
    this.#next = undefined;
    return result.done === true || !isSize(result.value) ? undefined : result.value;
  }

  /** Hands every further size to `resize`, one after the other, until {@link stop} or the end. */
  follow(resize: (size: TerminalSize) => Promise<void>): void {
    // A terminal that cannot be resized any more has ended; the exit tells.
    void this.#follow(resize).catch(() => undefined);
  }

  /** Waits for nothing: an iterator that is waiting itself ends when its client does. */
  stop(): void {
    this.#stopped = true;
    void this.#iterator?.return?.()?.catch(() => undefined);
  }

  async #follow(resize: (size: TerminalSize) => Promise<void>): Promise<void> {
    const iterator = this.#iterator;
    if (iterator === undefined) return;
    while (!this.#stopped) {
      const result = await (this.#next ?? iterator.next());
      this.#next = undefined;
      if (result.done === true || this.#stopped) return;
      if (isSize(result.value)) await resize(result.value);
    }
  }
}

function isSize({ columns, rows }: TerminalSize): boolean {
  return [columns, rows].every(
    (value) => Number.isInteger(value) && value > 0 && value <= MAX_CHARACTERS,
  );
}
