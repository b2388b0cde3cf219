import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AttachChunkReader } from '../../src/container/attach-chunks.js';

function encode(stream: number, bytes: Uint8Array): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(stream, 0);
  head.writeUInt32LE(bytes.length, 4);
  return Buffer.concat([head, bytes]);
}

describe('AttachChunkReader', () => {
  const chunks = fc.array(
    fc.record({ stream: fc.integer({ min: 1, max: 2 }), bytes: fc.uint8Array({ maxLength: 60 }) }),
    { maxLength: 10 },
  );

  it('gives each stream its bytes in order, wherever they were cut, and the reason of the end', () => {
    fc.assert(
      fc.property(
        chunks,
        fc.constantFrom('', 'slow'),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
        (sent, reason, cuts) => {
          const whole = Buffer.concat([
            ...sent.map(({ stream, bytes }) => encode(stream, bytes)),
            encode(3, Buffer.from(reason)),
          ]);
          const reader = new AttachChunkReader();
          const received = { stdout: [] as Buffer[], stderr: [] as Buffer[], end: [] as Buffer[] };
          for (let at = 0, turn = 0; at < whole.length; turn += 1) {
            const length = cuts[turn % cuts.length] ?? 1;
            for (const { stream, bytes } of reader.read(whole.subarray(at, at + length))) {
              received[stream].push(bytes);
            }
            at += length;
          }
          const expected = (wanted: number) =>
            Buffer.concat(sent.filter(({ stream }) => stream === wanted).map(({ bytes }) => bytes));
          expect(Buffer.concat(received.stdout)).toEqual(expected(1));
          expect(Buffer.concat(received.stderr)).toEqual(expected(2));
          expect(received.end.map(String)).toEqual([reason]);
        },
      ),
    );
  });

  it('refuses what no supervisor sends, and never keeps much of anything', () => {
    for (const head of [encode(0, Buffer.alloc(0)), encode(4, Buffer.alloc(1))]) {
      expect(() => new AttachChunkReader().read(head)).toThrow(
        expect.objectContaining({ code: 'PROTOCOL' }),
      );
    }
    const long = Buffer.alloc(8);
    long.writeUInt32LE(1, 0);
    long.writeUInt32LE(2 ** 32 - 1, 4);
    expect(() => new AttachChunkReader().read(long)).toThrow('4294967295 bytes');
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        try {
          new AttachChunkReader().read(Buffer.from(bytes));
        } catch (error) {
          expect(error).toMatchObject({ code: 'PROTOCOL' });
        }
      }),
    );
  });
});
