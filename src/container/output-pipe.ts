import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import type { NativeBinding } from '../native.js';

/** What a stream keeps; the rest is read and dropped, so that the program is not held up (CVE-2022-31030). */
const OUTPUT_MAX_BYTES = 16 * 2 ** 20;

/** Collects what comes out of a pipe, up to 16 MiB. */
export class OutputPipe {
  readonly #socket: Socket;
  readonly #chunks: Buffer[] = [];
  readonly #ended: Promise<void>;
  #bytes = 0;
  #writeFd: number | undefined;

  constructor(native: Pick<NativeBinding, 'createPipe'>) {
    const { readFd, writeFd } = native.createPipe();
    this.#writeFd = writeFd;
    this.#socket = new Socket({ fd: readFd, readable: true, writable: false });
    this.#ended = new Promise((resolve) => {
      this.#socket.once('close', resolve);
    });
    this.#socket.on('error', () => this.#socket.destroy());
    this.#socket.on('data', (chunk: Buffer) => {
      const room = OUTPUT_MAX_BYTES - this.#bytes;
      if (room <= 0) return;
      const kept = chunk.subarray(0, room);
      this.#bytes += kept.length;
      this.#chunks.push(kept);
    });
  }

  /** For the process; closed by {@link closeWriteEnd}. */
  get writeFd(): number {
    if (this.#writeFd === undefined) throw new Error('The write end is closed');
    return this.#writeFd;
  }

  closeWriteEnd(): void {
    if (this.#writeFd !== undefined) closeSync(this.#writeFd);
    this.#writeFd = undefined;
  }

  /** Everything until the last writer has closed, or `patienceMs` has passed. */
  async rest(patienceMs: number): Promise<Buffer> {
    const timer = setTimeout(() => this.#socket.destroy(), patienceMs);
    await this.#ended;
    clearTimeout(timer);
    return Buffer.concat(this.#chunks);
  }

  close(): void {
    this.closeWriteEnd();
    this.#socket.destroy();
  }
}
