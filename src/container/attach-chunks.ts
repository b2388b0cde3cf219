import { ProtocolError } from '../runtime/record-codec.js';

/** `u8 stream | u8×3 zero | u32 length`, little-endian; see PROTOCOL.md, ATTACH. */
const HEADER_BYTES = 8;
/** The supervisor sends what it reads at once, which is at most 64 KiB; nobody honest sends more. */
const MAX_CHUNK_BYTES = 2 ** 20;

/** Output of a container as it comes on an attached socket. `end` has the reason as its text, empty when the container has ended. */
export interface AttachChunk {
  readonly stream: 'stdout' | 'stderr' | 'end';
  readonly bytes: Buffer;
}

const STREAMS: Readonly<Record<number, AttachChunk['stream']>> = {
  1: 'stdout',
  2: 'stderr',
  3: 'end',
};

/** Takes the bytes of an attached socket apart, wherever they were cut on the way; content is handed on without waiting for the whole chunk. */
export class AttachChunkReader {
  #header = Buffer.alloc(0);
  #stream: AttachChunk['stream'] | undefined;
  #left = 0;
  #reason = Buffer.alloc(0);

  /** @throws ProtocolError for what no supervisor sends. */
  read(bytes: Buffer): AttachChunk[] {
    const chunks: AttachChunk[] = [];
    let rest = bytes;
    while (rest.length > 0 || (this.#stream === 'end' && this.#left === 0)) {
      if (this.#stream === undefined) rest = this.#readHeader(rest);
      if (this.#stream === undefined) break;
      const piece = rest.subarray(0, this.#left);
      rest = rest.subarray(piece.length);
      this.#left -= piece.length;
      if (this.#stream === 'end') this.#reason = Buffer.concat([this.#reason, piece]);
      else if (piece.length > 0) chunks.push({ stream: this.#stream, bytes: piece });
      if (this.#left > 0) break;
      if (this.#stream === 'end') chunks.push({ stream: 'end', bytes: this.#reason });
      this.#reason = Buffer.alloc(0);
      this.#stream = undefined;
    }
    return chunks;
  }

  #readHeader(bytes: Buffer): Buffer {
    const missing = HEADER_BYTES - this.#header.length;
    this.#header = Buffer.concat([this.#header, bytes.subarray(0, missing)]);
    if (this.#header.length < HEADER_BYTES) return Buffer.alloc(0);
    const stream = STREAMS[this.#header.readUInt32LE(0)];
    this.#left = this.#header.readUInt32LE(4);
    if (stream === undefined || this.#left > MAX_CHUNK_BYTES) {
      throw new ProtocolError(
        `Unexpected chunk on an attached socket: stream ${this.#header.readUInt32LE(0)}, ${this.#left} bytes`,
      );
    }
    this.#stream = stream;
    this.#header = Buffer.alloc(0);
    return bytes.subarray(missing);
  }
}
