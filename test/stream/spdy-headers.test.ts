import { createHash } from 'node:crypto';
import { constants, createDeflate, createInflate } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SpdyProtocolError } from '../../src/stream/spdy-frames.js';
import { decodeHeaderBlock } from '../../src/stream/spdy-header-block.js';
import { SpdyHeaderDeflater } from '../../src/stream/spdy-header-deflater.js';
import {
  SPDY_HEADER_DICTIONARY,
  SPDY_HEADER_DICTIONARY_ID,
} from '../../src/stream/spdy-header-dictionary.js';
import {
  MAX_HEADER_BLOCK_BYTES,
  SpdyHeaderInflater,
} from '../../src/stream/spdy-header-inflater.js';
import { encodeHeaders, words } from './spdy-client.js';

describe('SPDY_HEADER_DICTIONARY', () => {
  test('is the constant of the protocol', () => {
    expect(SPDY_HEADER_DICTIONARY.length).toBe(1423);
    expect(createHash('sha256').update(SPDY_HEADER_DICTIONARY).digest('hex')).toBe(
      '51d27341373f923f3cd88e1eb7162aeaa3723d7585ff2399201dc06498407f02',
    );
    let [a, b] = [1, 0];
    for (const byte of SPDY_HEADER_DICTIONARY) {
      a = (a + byte) % 65_521;
      b = (b + a) % 65_521;
    }
    expect(b * 65_536 + a).toBe(SPDY_HEADER_DICTIONARY_ID);
  });
});

describe('decodeHeaderBlock()', () => {
  test('reads what was written', () => {
    const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/);
    fc.assert(
      fc.property(fc.dictionary(name, fc.stringMatching(/^[ -~]{0,50}$/)), (headers) => {
        expect(decodeHeaderBlock(encodeHeaders(headers))).toEqual(new Map(Object.entries(headers)));
      }),
    );
  });

  test('any bytes give headers or a protocol error', () => {
    const block = encodeHeaders({ streamtype: 'error', port: '8080', requestid: '1' });
    const damaged = fc
      .tuple(fc.nat(block.length - 1), fc.nat(255), fc.nat(block.length))
      .map(([place, value, length]) => {
        const bytes = Buffer.from(block);
        bytes[place] = value;
        return bytes.subarray(0, length);
      });
    fc.assert(
      fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 200 })), (bytes) => {
        try {
          expect(decodeHeaderBlock(Buffer.from(bytes)).size).toBeLessThan(40);
        } catch (error) {
          expect(error).toBeInstanceOf(SpdyProtocolError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    ['nothing', Buffer.alloc(0)],
    ['more headers than bytes', words(0xffffffff)],
    ['a name longer than the block', words(1, 0xffffffff, 0)],
    ['a value longer than the block', Buffer.concat([words(1, 1), Buffer.from('a'), words(9)])],
    ['bytes behind the end', words(0, 0)],
    ['an empty name', words(1, 0, 0)],
    ['a name in capitals', encodeHeaders({ Port: '1' })],
    [
      'a name twice',
      Buffer.concat([words(2, 1), Buffer.from('a'), words(0, 1), Buffer.from('a'), words(0)]),
    ],
  ])('refuses %s', (_, block) => {
    expect(() => decodeHeaderBlock(block)).toThrow(SpdyProtocolError);
  });
});

/** Compresses as a client does: one context, a sync flush behind each block. */
function compressor(dictionary: Buffer | undefined = SPDY_HEADER_DICTIONARY) {
  const deflate = createDeflate(dictionary === undefined ? {} : { dictionary });
  const pieces: Buffer[] = [];
  deflate.on('data', (piece: Buffer) => pieces.push(piece));
  return (block: Buffer): Promise<Buffer> =>
    new Promise((resolve) => {
      deflate.write(block);
      deflate.flush(constants.Z_SYNC_FLUSH, () =>
        setImmediate(() => resolve(Buffer.concat(pieces.splice(0)))),
      );
    });
}

describe('SpdyHeaderInflater', () => {
  test('inflates block after block in one context', async () => {
    const compress = compressor();
    const inflater = new SpdyHeaderInflater();
    for (let index = 0; index < 100; index++) {
      const block = encodeHeaders({ streamtype: 'data', port: '80', requestid: `${index}` });
      expect(await inflater.inflate(await compress(block))).toEqual(block);
    }
    inflater.close();
  });

  test('takes a block of the greatest size and refuses a larger one', async () => {
    const compress = compressor();
    const inflater = new SpdyHeaderInflater();
    const greatest = Buffer.alloc(MAX_HEADER_BLOCK_BYTES, 'x');
    expect(await inflater.inflate(await compress(greatest))).toEqual(greatest);
    const larger = await compress(Buffer.alloc(MAX_HEADER_BLOCK_BYTES + 1, 'x'));
    await expect(inflater.inflate(larger)).rejects.toThrow('inflates to more than');
    await expect(inflater.inflate(Buffer.alloc(0))).rejects.toThrow(SpdyProtocolError);
  });

  test('stops at once at a bomb', async () => {
    const bomb = await compressor()(Buffer.alloc(40_000_000));
    expect(bomb.length).toBeLessThan(64 * 1024);
    const inflater = new SpdyHeaderInflater();
    await expect(inflater.inflate(bomb)).rejects.toThrow('inflates to more than');
  });

  test('refuses what is no zlib stream, or one with another dictionary', async () => {
    const blocks = [Buffer.from('not zlib'), await compressor(Buffer.from('other'))(words(0))];
    for (const block of blocks) {
      await expect(new SpdyHeaderInflater().inflate(block)).rejects.toThrow(SpdyProtocolError);
    }
  });

  test('any bytes give a block or a protocol error', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 5 }),
        async (all) => {
          const inflater = new SpdyHeaderInflater();
          const head = new SpdyHeaderDeflater().encodeEmpty();
          try {
            await inflater.inflate(head);
            for (const bytes of all) {
              const block = await inflater.inflate(Buffer.from(bytes));
              expect(block.length).toBeLessThanOrEqual(MAX_HEADER_BLOCK_BYTES);
            }
          } catch (error) {
            expect(error).toBeInstanceOf(SpdyProtocolError);
          } finally {
            inflater.close();
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test('a call under way fails when it is closed', async () => {
    const inflater = new SpdyHeaderInflater();
    const call = inflater.inflate(new SpdyHeaderDeflater().encodeEmpty());
    inflater.close();
    inflater.close();
    await expect(call).rejects.toThrow('the connection is closed');
  });
});

describe('SpdyHeaderDeflater', () => {
  test('zlib reads each block as soon as it has come', async () => {
    const deflater = new SpdyHeaderDeflater();
    const inflate = createInflate({ dictionary: SPDY_HEADER_DICTIONARY });
    for (let index = 0; index < 3; index++) {
      await new Promise<void>((resolve) => inflate.write(deflater.encodeEmpty(), () => resolve()));
      expect(inflate.read()).toEqual(Buffer.alloc(4));
    }
    inflate.close();
  });
});
