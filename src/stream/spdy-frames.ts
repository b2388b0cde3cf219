import { RuntimeError } from '../errors.js';

/** The other side does not speak SPDY/3 as it should (`SPDY_PROTOCOL`); the connection cannot go on. */
export class SpdyProtocolError extends RuntimeError {
  constructor(message: string) {
    super('SPDY_PROTOCOL', message);
  }
}

/** Types of control frames. */
export const SPDY_SYN_STREAM = 1;
export const SPDY_SYN_REPLY = 2;
export const SPDY_RST_STREAM = 3;
export const SPDY_SETTINGS = 4;
export const SPDY_PING = 6;
export const SPDY_GOAWAY = 7;
export const SPDY_HEADERS = 8;
export const SPDY_WINDOW_UPDATE = 9;

/** Flag of data frames, SYN_STREAM, SYN_REPLY and HEADERS: the sender sends no more on this stream. */
export const SPDY_FLAG_FIN = 0x01;
/** Flag of SYN_STREAM: the receiver sends nothing on this stream. */
export const SPDY_FLAG_UNIDIRECTIONAL = 0x02;

/** Reasons in RST_STREAM. */
export const SPDY_RST_PROTOCOL_ERROR = 1;
export const SPDY_RST_REFUSED = 3;
export const SPDY_RST_CANCEL = 5;

/** Reasons in GOAWAY. */
export const SPDY_GOAWAY_OK = 0;
export const SPDY_GOAWAY_PROTOCOL_ERROR = 1;

/** Every frame begins with so many bytes. */
export const SPDY_FRAME_HEAD_BYTES = 8;

const CONTROL_VERSION_3 = 0x8003;

/** What a control frame says, its numbers read and its lengths checked. */
export type SpdyControlFrame =
  | {
      readonly type: 'synStream';
      readonly streamId: number;
      readonly isFin: boolean;
      readonly isUnidirectional: boolean;
      readonly headerBlock: Buffer;
    }
  /** HEADERS, and SYN_REPLY, which no client has a reason to send: of interest only to the common compression. */
  | {
      readonly type: 'headers';
      readonly streamId: number;
      readonly isFin: boolean;
      readonly headerBlock: Buffer;
    }
  | { readonly type: 'rstStream'; readonly streamId: number; readonly status: number }
  | { readonly type: 'ping'; readonly id: number }
  | { readonly type: 'goAway'; readonly lastStreamId: number; readonly status: number }
  /** SETTINGS, WINDOW_UPDATE and unknown types: nothing depends on them. */
  | { readonly type: 'ignored' };

/**
 * Reads a control frame.
 * @throws SpdyProtocolError for a body that contradicts its type.
 * @see SPDY Protocol, Draft 3, section 2.6
 */
export function decodeControlFrame(type: number, flags: number, body: Buffer): SpdyControlFrame {
  const isFin = (flags & SPDY_FLAG_FIN) !== 0;
  switch (type) {
    case SPDY_SYN_STREAM:
      atLeast('SYN_STREAM', body, 10);
      return {
        type: 'synStream',
        streamId: readStreamId(body),
        isFin,
        isUnidirectional: (flags & SPDY_FLAG_UNIDIRECTIONAL) !== 0,
        headerBlock: body.subarray(10),
      };
    case SPDY_SYN_REPLY:
    case SPDY_HEADERS:
      atLeast('SYN_REPLY or HEADERS', body, 4);
      return {
        type: 'headers',
        streamId: readStreamId(body),
        isFin,
        headerBlock: body.subarray(4),
      };
    case SPDY_RST_STREAM:
      exactly('RST_STREAM', body, 8);
      return { type: 'rstStream', streamId: readStreamId(body), status: body.readUInt32BE(4) };
    case SPDY_PING:
      exactly('PING', body, 4);
      return { type: 'ping', id: body.readUInt32BE(0) };
    case SPDY_GOAWAY:
      exactly('GOAWAY', body, 8);
      return { type: 'goAway', lastStreamId: readStreamId(body), status: body.readUInt32BE(4) };
    case SPDY_SETTINGS:
      atLeast('SETTINGS', body, 4);
      // Only the length decides how many entries there are, and nothing is made from the count (CVE-2026-35469).
      exactly('SETTINGS', body, 4 + 8 * body.readUInt32BE(0));
      return { type: 'ignored' };
    case SPDY_WINDOW_UPDATE:
      exactly('WINDOW_UPDATE', body, 8);
      return { type: 'ignored' };
    default:
      return { type: 'ignored' };
  }
}

function readStreamId(body: Buffer): number {
  return body.readUInt32BE(0) & 0x7fffffff;
}

function atLeast(name: string, body: Buffer, bytes: number): void {
  if (body.length < bytes) throw wrongLength(name, body, `at least ${bytes}`);
}

function exactly(name: string, body: Buffer, bytes: number): void {
  if (body.length !== bytes) throw wrongLength(name, body, `${bytes}`);
}

function wrongLength(name: string, body: Buffer, expected: string): SpdyProtocolError {
  return new SpdyProtocolError(
    `Bad SPDY frame: ${name} has ${body.length} bytes, expected ${expected}`,
  );
}

/** Head of a data frame; the payload of `length` bytes follows it. */
export function encodeDataHead(streamId: number, flags: number, length: number): Buffer {
  const head = Buffer.allocUnsafe(SPDY_FRAME_HEAD_BYTES);
  head.writeUInt32BE(streamId, 0);
  head.writeUInt32BE(((flags << 24) | length) >>> 0, 4);
  return head;
}

/** A control frame whose body is these numbers of 32 bits, and then `rest`. */
export function encodeControlFrame(
  type: number,
  { numbers, rest }: { readonly numbers: readonly number[]; readonly rest?: Buffer },
): Buffer {
  const fixedBytes = 4 * numbers.length;
  const length = fixedBytes + (rest?.length ?? 0);
  const frame = Buffer.allocUnsafe(SPDY_FRAME_HEAD_BYTES + length);
  frame.writeUInt16BE(CONTROL_VERSION_3, 0);
  frame.writeUInt16BE(type, 2);
  frame.writeUInt32BE(length, 4);
  numbers.forEach((number, index) => {
    frame.writeUInt32BE(number >>> 0, SPDY_FRAME_HEAD_BYTES + 4 * index);
  });
  rest?.copy(frame, SPDY_FRAME_HEAD_BYTES + fixedBytes);
  return frame;
}
