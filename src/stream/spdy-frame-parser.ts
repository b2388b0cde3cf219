import {
  decodeControlFrame,
  SPDY_FLAG_FIN,
  SPDY_FRAME_HEAD_BYTES,
  type SpdyControlFrame,
  SpdyProtocolError,
} from './spdy-frames.js';

/** A piece of a data frame; `isFin` is set on the last piece of the last frame. */
export interface SpdyData {
  readonly type: 'data';
  readonly streamId: number;
  readonly payload: Buffer;
  readonly isFin: boolean;
}

export type SpdyFrame = SpdyControlFrame | SpdyData;

/** The field allows 16 MiB; the clients' pieces have 32 KiB. */
export const MAX_DATA_FRAME_BYTES = 1024 * 1024;
/** A control frame is kept until it is whole. */
export const MAX_CONTROL_FRAME_BYTES = 64 * 1024;

/**
 * Cuts a byte stream into SPDY/3 frames. The payload of data frames is handed on as it comes, without a copy: a piece is a view
 * of what was pushed. Memory is bounded by one control frame and by what the caller pushes before it has taken all frames.
 */
export class SpdyFrameParser {
  readonly #chunks: Buffer[] = [];
  readonly #head = Buffer.alloc(SPDY_FRAME_HEAD_BYTES);
  #headBytes = 0;
  #body: Buffer | undefined;
  #bodyBytes = 0;
  #data: { readonly streamId: number; readonly isFin: boolean; missingBytes: number } | undefined;

  /** Adds what has come; the parser keeps it until `next` has answered undefined. */
  push(chunk: Buffer): void {
    if (chunk.length > 0) this.#chunks.push(chunk);
  }

  /**
   * The next frame or piece of one, or undefined if more bytes are needed.
   * @throws SpdyProtocolError; the parser is of no use afterwards.
   */
  next(): SpdyFrame | undefined {
    if (this.#body !== undefined) return this.#nextControl(this.#body);
    if (this.#data !== undefined) return this.#nextData();
    this.#headBytes += this.#fill(this.#head, this.#headBytes);
    if (this.#headBytes < SPDY_FRAME_HEAD_BYTES) return undefined;
    this.#headBytes = 0;
    return this.#begin();
  }

  #begin(): SpdyFrame | undefined {
    const first = this.#head.readUInt32BE(0);
    const flags = this.#head.readUInt8(4);
    const length = this.#head.readUIntBE(5, 3);
    if (first < 0x80000000) {
      if (length > MAX_DATA_FRAME_BYTES) throw tooLong('data', length, MAX_DATA_FRAME_BYTES);
      const isFin = (flags & SPDY_FLAG_FIN) !== 0;
      this.#data = { streamId: first, isFin, missingBytes: length };
      return this.#nextData();
    }
    const version = (first >>> 16) & 0x7fff;
    if (version !== 3) throw new SpdyProtocolError(`Bad SPDY frame: version ${version}, not 3`);
    if (length > MAX_CONTROL_FRAME_BYTES) {
      throw tooLong('control', length, MAX_CONTROL_FRAME_BYTES);
    }
    this.#body = Buffer.allocUnsafe(length);
    this.#bodyBytes = 0;
    return this.#nextControl(this.#body);
  }

  #nextControl(body: Buffer): SpdyFrame | undefined {
    this.#bodyBytes += this.#fill(body, this.#bodyBytes);
    if (this.#bodyBytes < body.length) return undefined;
    this.#body = undefined;
    return decodeControlFrame(this.#head.readUInt16BE(2), this.#head.readUInt8(4), body);
  }

  #nextData(): SpdyFrame | undefined {
    const data = this.#data;
    if (data === undefined) return undefined;
    const payload = this.#take(data.missingBytes);
    // An empty frame is whole at once; else there is nothing to say before bytes have come.
    if (payload.length === 0 && data.missingBytes > 0) return undefined;
    data.missingBytes -= payload.length;
    const isLast = data.missingBytes === 0;
    if (isLast) this.#data = undefined;
    return { type: 'data', streamId: data.streamId, payload, isFin: data.isFin && isLast };
  }

  /** Copies into `target` from `offset` on what there is; answers how much that was. */
  #fill(target: Buffer, offset: number): number {
    let filled = 0;
    while (offset + filled < target.length && this.#chunks.length > 0) {
      filled += this.#take(target.length - offset - filled).copy(target, offset + filled);
    }
    return filled;
  }

  /** At most `limit` bytes of the first chunk. */
  #take(limit: number): Buffer {
    const first = this.#chunks[0];
    if (first === undefined || limit === 0) return Buffer.alloc(0);
    if (first.length <= limit) {
      this.#chunks.shift();
      return first;
    }
    this.#chunks[0] = first.subarray(limit);
    return first.subarray(0, limit);
  }
}

function tooLong(kind: string, length: number, limit: number): SpdyProtocolError {
  return new SpdyProtocolError(
    `Bad SPDY frame: a ${kind} frame of ${length} bytes; the limit is ${limit}`,
  );
}
