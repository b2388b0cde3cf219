import type { TerminalSize } from '../process-streams.js';

/** One size has about 30 bytes. */
const MAX_WAITING_CHARACTERS = 1024;
const MAX_CELLS = 65_535;

/**
 * Turns what comes on a resize stream, JSON objects one after the other like `{"Width":99,"Height":33}`, into sizes. Only the newest
 * counts, so a reader that is slow misses those in between. A text that is no size ends the sequence. For one reader.
 */
export class TerminalSizes implements AsyncIterable<TerminalSize> {
  #text = '';
  #newest: TerminalSize | undefined;
  #hasEnded = false;
  #wake: (() => void) | undefined;

  /** Adds a piece of the stream; pieces need not be whole objects. */
  push(bytes: Uint8Array): void {
    if (this.#hasEnded) return;
    this.#text += Buffer.from(bytes).toString('latin1');
    for (let end = this.#text.indexOf('}'); end >= 0; end = this.#text.indexOf('}')) {
      const object = this.#text.slice(0, end + 1);
      this.#text = this.#text.slice(end + 1);
      const size = parseSize(object);
      if (size === 'malformed') {
        this.end();
        return;
      }
      if (size !== undefined) this.#newest = size;
    }
    if (this.#text.length > MAX_WAITING_CHARACTERS) this.end();
    else if (this.#newest !== undefined) this.#notify();
  }

  /** No more sizes come; the newest one is still delivered. */
  end(): void {
    this.#hasEnded = true;
    this.#text = '';
    this.#notify();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TerminalSize, void, undefined> {
    for (;;) {
      const size = this.#newest;
      this.#newest = undefined;
      if (size !== undefined) yield size;
      else if (this.#hasEnded) return;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  #notify(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}

/** Undefined for a size that says nothing: some clients send zeros when they do not know. */
function parseSize(text: string): TerminalSize | undefined | 'malformed' {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return 'malformed';
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'malformed';
  const columns = readCells(value, 'Width');
  const rows = readCells(value, 'Height');
  return columns === undefined || rows === undefined ? undefined : { columns, rows };
}

function readCells(value: object, name: string): number | undefined {
  const cells: unknown = Reflect.get(value, name);
  if (typeof cells !== 'number' || !Number.isInteger(cells)) return undefined;
  return cells >= 1 && cells <= MAX_CELLS ? cells : undefined;
}
