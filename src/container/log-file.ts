import { type FileHandle, open, stat } from 'node:fs/promises';

const CHUNK_BYTES = 64 * 1024;
/** A longer run of bytes without a newline is no log entry and is skipped. */
const MAX_ENTRY_BYTES = 2 * 1024 * 1024;
const NEWLINE = 0x0a;

/**
 * Reads a growing log file line by line, over rotation (rename and a new file of the same name) and truncation.
 * Close it.
 */
export class LogFile {
  readonly #path: string;
  #handle: FileHandle | undefined;
  #inode = -1;
  #offset = 0;
  #carry: Buffer = Buffer.alloc(0);
  /** The rest of an entry that was too long is being skipped. */
  #isSkipping = false;

  constructor(path: string) {
    this.#path = path;
  }

  /** Moves to where the last `count` lines begin; the file must not have been read yet. */
  async seekToTail(count: number): Promise<void> {
    if (!(await this.#openIfThere())) return;
    const handle = this.#handle as FileHandle;
    const { size } = await handle.stat();
    if (count === 0) {
      this.#offset = size;
      return;
    }
    // Backwards: an entry counts when it ends a line (tag F); the piece before the first newline of a block is carried on.
    let position = size;
    let carry: Buffer = Buffer.alloc(0);
    let found = 0;
    while (position > 0) {
      const length = Math.min(CHUNK_BYTES, position);
      const block = Buffer.alloc(length);
      await readFully(handle, { block, position: position - length });
      position -= length;
      const bytes = Buffer.concat([block, carry.subarray(0, MAX_ENTRY_BYTES)]);
      let end = bytes.length;
      for (let newline = bytes.lastIndexOf(NEWLINE, end - 1); newline !== -1; ) {
        if (newline + 1 < end && endsLine(bytes.subarray(newline + 1, end))) {
          found += 1;
          if (found > count) {
            this.#offset = position + end;
            return;
          }
        }
        end = newline + 1;
        newline = newline === 0 ? -1 : bytes.lastIndexOf(NEWLINE, newline - 1);
      }
      carry = bytes.subarray(0, end);
    }
    this.#offset = found >= count && endsLine(carry) ? carry.length : 0;
  }

  /** Lines that are there now, without their newlines; valid until the next step. */
  async *lines(): AsyncGenerator<Buffer> {
    if (!(await this.#openIfThere())) return;
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    for (;;) {
      const { bytesRead } = await (this.#handle as FileHandle).read(
        chunk,
        0,
        CHUNK_BYTES,
        this.#offset,
      );
      if (bytesRead === 0 && !(await this.#followRotation())) return;
      this.#offset += bytesRead;
      yield* this.#split(chunk.subarray(0, bytesRead));
    }
  }

  async close(): Promise<void> {
    await this.#handle?.close();
    this.#handle = undefined;
  }

  *#split(chunk: Buffer): Generator<Buffer> {
    let start = 0;
    for (let newline = chunk.indexOf(NEWLINE); newline !== -1; ) {
      const piece = chunk.subarray(start, newline);
      if (!this.#isSkipping) {
        yield this.#carry.length === 0 ? piece : Buffer.concat([this.#carry, piece]);
      }
      this.#isSkipping = false;
      this.#carry = Buffer.alloc(0);
      start = newline + 1;
      newline = chunk.indexOf(NEWLINE, start);
    }
    if (start === chunk.length || this.#isSkipping) return;
    this.#carry = Buffer.concat([this.#carry, chunk.subarray(start)]);
    if (this.#carry.length > MAX_ENTRY_BYTES) {
      this.#carry = Buffer.alloc(0);
      this.#isSkipping = true;
    }
  }

  async #openIfThere(): Promise<boolean> {
    if (this.#handle !== undefined) return true;
    try {
      this.#handle = await open(this.#path, 'r');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      throw error;
    }
    this.#inode = (await this.#handle.stat()).ino;
    return true;
  }

  /** At the end of the file: true when another file has its name now, or it was cut, so that reading goes on. */
  async #followRotation(): Promise<boolean> {
    const handle = this.#handle as FileHandle;
    const own = await handle.stat();
    if (own.size < this.#offset) {
      this.#offset = 0;
      this.#carry = Buffer.alloc(0);
      return own.size > 0;
    }
    // What was appended between the read and the stat is read before the new file.
    if (own.size > this.#offset) return true;
    const current = await stat(this.#path).catch(() => undefined);
    if (current === undefined || current.ino === this.#inode) return false;
    await this.close();
    this.#offset = 0;
    this.#carry = Buffer.alloc(0);
    return this.#openIfThere();
  }
}

/** Whether an entry (with or without its newline) carries the tag F. */
function endsLine(entry: Buffer): boolean {
  const first = entry.indexOf(0x20);
  const second = first === -1 ? -1 : entry.indexOf(0x20, first + 1);
  return second !== -1 && entry[second + 1] === 0x46;
}

async function readFully(
  handle: FileHandle,
  { block, position }: { block: Buffer; position: number },
): Promise<void> {
  let done = 0;
  while (done < block.length) {
    const { bytesRead } = await handle.read(block, done, block.length - done, position + done);
    if (bytesRead === 0) return;
    done += bytesRead;
  }
}
