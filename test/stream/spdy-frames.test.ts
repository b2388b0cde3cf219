import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  MAX_CONTROL_FRAME_BYTES,
  MAX_DATA_FRAME_BYTES,
  type SpdyFrame,
  SpdyFrameParser,
} from '../../src/stream/spdy-frame-parser.js';
import {
  encodeControlFrame,
  encodeDataHead,
  SPDY_PING,
  SPDY_RST_STREAM,
  SpdyProtocolError,
} from '../../src/stream/spdy-frames.js';
import { words } from './spdy-client.js';

/** All frames of these chunks, neighbouring pieces of one data frame joined. */
function parse(...chunks: Buffer[]): SpdyFrame[] {
  const parser = new SpdyFrameParser();
  const frames: SpdyFrame[] = [];
  for (const chunk of chunks) {
    parser.push(chunk);
    for (let frame = parser.next(); frame !== undefined; frame = parser.next()) {
      const last = frames.at(-1);
      if (frame.type === 'data' && last?.type === 'data' && last.streamId === frame.streamId) {
        const payload = Buffer.concat([last.payload, frame.payload]);
        frames[frames.length - 1] = { ...frame, payload };
      } else {
        frames.push(frame);
      }
    }
  }
  return frames;
}

function control(type: number, body: Buffer, { flags = 0, length = body.length } = {}): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16BE(0x8003);
  head.writeUInt16BE(type, 2);
  head.writeUInt8(flags, 4);
  head.writeUIntBE(length, 5, 3);
  return Buffer.concat([head, body]);
}

/** Cuts at arbitrary places. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const borders = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort(
    (a, b) => a - b,
  );
  return [0, ...borders].map((from, index) => bytes.subarray(from, borders[index] ?? bytes.length));
}

describe('SpdyFrameParser', () => {
  test('reads every type', () => {
    const block = Buffer.from('block');
    expect(
      parse(
        control(1, Buffer.concat([words(0x80000005, 0), Buffer.from([0xe0, 0]), block]), {
          flags: 3,
        }),
        control(2, Buffer.concat([words(5), block])),
        control(8, Buffer.concat([words(5), block]), { flags: 1 }),
        control(3, words(5, 1)),
        control(4, words(1, 0x04000000, 7)),
        control(6, words(9)),
        control(7, words(5, 0)),
        control(9, words(5, 1000)),
        control(77, Buffer.from('unknown types are skipped')),
        encodeDataHead(5, 1, 3),
        Buffer.from('end'),
      ),
    ).toEqual([
      { type: 'synStream', streamId: 5, isFin: true, isUnidirectional: true, headerBlock: block },
      { type: 'headers', streamId: 5, isFin: false, headerBlock: block },
      { type: 'headers', streamId: 5, isFin: true, headerBlock: block },
      { type: 'rstStream', streamId: 5, status: 1 },
      { type: 'ignored' },
      { type: 'ping', id: 9 },
      { type: 'goAway', lastStreamId: 5, status: 0 },
      { type: 'ignored' },
      { type: 'ignored' },
      { type: 'data', streamId: 5, payload: Buffer.from('end'), isFin: true },
    ]);
  });

  test('the borders of chunks mean nothing', () => {
    const frame = fc.oneof(
      fc
        .record({
          id: fc.nat(0x7fffffff),
          bytes: fc.uint8Array({ maxLength: 300 }),
          fin: fc.boolean(),
        })
        .map(({ id, bytes, fin }) =>
          Buffer.concat([encodeDataHead(id, fin ? 1 : 0, bytes.length), Buffer.from(bytes)]),
        ),
      fc.nat(0xffffffff).map((id) => encodeControlFrame(SPDY_PING, { numbers: [id] })),
      fc
        .tuple(fc.nat(0x7fffffff), fc.nat(0xffffffff))
        .map((numbers) => encodeControlFrame(SPDY_RST_STREAM, { numbers })),
    );
    fc.assert(
      fc.property(fc.array(frame), fc.array(fc.nat(10_000)), (frames, places) => {
        const bytes = Buffer.concat(frames);
        expect(parse(...cut(bytes, places))).toEqual(parse(bytes));
        expect(parse(...cut(bytes, Array.from(bytes.keys())))).toEqual(parse(bytes));
      }),
    );
  });

  test('any bytes give frames or a protocol error, and nothing is kept that was taken', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 400 })), (chunks) => {
        try {
          let payload = 0;
          for (const frame of parse(...chunks.map((chunk) => Buffer.from(chunk)))) {
            if (frame.type === 'data') payload += frame.payload.length;
          }
          expect(payload).toBeLessThanOrEqual(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
        } catch (error) {
          expect(error).toBeInstanceOf(SpdyProtocolError);
        }
      }),
      { numRuns: 500 },
    );
  });

  test('damaged frames give frames or a protocol error', () => {
    const good = Buffer.concat([
      control(1, Buffer.concat([words(1, 0), Buffer.alloc(2), Buffer.from('block')])),
      control(4, words(1, 0, 7)),
      control(7, words(5, 0)),
      encodeDataHead(1, 0, 4),
      Buffer.from('data'),
    ]);
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), (place, value) => {
        const bad = Buffer.from(good);
        bad[place] = value;
        try {
          parse(bad);
        } catch (error) {
          expect(error).toBeInstanceOf(SpdyProtocolError);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test.each([
    ['a data frame too large', encodeDataHead(1, 0, MAX_DATA_FRAME_BYTES + 1)],
    [
      'a control frame too large',
      control(1, Buffer.alloc(0), { length: MAX_CONTROL_FRAME_BYTES + 1 }),
    ],
    ['another version', Buffer.from('8002000100000000', 'hex')],
    ['a SYN_STREAM too short', control(1, Buffer.alloc(9))],
    ['a SYN_REPLY too short', control(2, Buffer.alloc(3))],
    ['a RST_STREAM too long', control(3, Buffer.alloc(9))],
    ['SETTINGS with more entries than bytes', control(4, words(0xffffffff))],
    ['SETTINGS with fewer entries than bytes', control(4, words(0, 1, 2))],
    ['SETTINGS without a count', control(4, Buffer.alloc(3))],
    ['a PING too long', control(6, words(1, 2))],
    ['a GOAWAY too short', control(7, words(1))],
    ['a WINDOW_UPDATE too short', control(9, words(1))],
  ])('refuses %s', (_, bytes) => {
    expect(() => parse(bytes)).toThrow(SpdyProtocolError);
  });

  test('hands on data before the frame is whole', () => {
    expect(parse(encodeDataHead(3, 1, 1000), Buffer.from('first'))).toEqual([
      { type: 'data', streamId: 3, payload: Buffer.from('first'), isFin: false },
    ]);
  });
});
