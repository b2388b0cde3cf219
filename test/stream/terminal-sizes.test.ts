import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { TerminalSize } from '../../src/process-streams.js';
import { TerminalSizes } from '../../src/stream/terminal-sizes.js';

/** All sizes of these pieces, each read before the next piece comes. */
async function read(...pieces: (string | Uint8Array)[]): Promise<TerminalSize[]> {
  const sizes = new TerminalSizes();
  const seen: TerminalSize[] = [];
  const reading = (async () => {
    for await (const size of sizes) seen.push(size);
  })();
  for (const piece of pieces) {
    sizes.push(Buffer.from(piece as string));
    await new Promise(setImmediate);
  }
  sizes.end();
  await reading;
  return seen;
}

describe('TerminalSizes', () => {
  test('reads objects one after the other, wherever they are cut', async () => {
    const [first, second] = ['{"Width":99,"Height":33}\n', '{ "Height": 2, "Width": 1 }'];
    const expected = [
      { columns: 99, rows: 33 },
      { columns: 1, rows: 2 },
    ];
    expect(await read(first, second)).toEqual(expected);
    expect(await read(...(first + second))).toEqual(expected);
  });

  test('a slow reader gets the newest only', async () => {
    expect(await read('{"Width":1,"Height":1}{"Width":2,"Height":2}')).toEqual([
      { columns: 2, rows: 2 },
    ]);
  });

  test.each([
    '{"Width":0,"Height":5}',
    '{"Width":5}',
    '{"Width":1.5,"Height":1}',
    '{"Width":70000,"Height":1}',
  ])('leaves out %s', async (text) => {
    expect(await read(text, '{"Width":3,"Height":4}')).toEqual([{ columns: 3, rows: 4 }]);
  });

  test.each(['nonsense}', '{"Width":{}}', 'x'.repeat(2000), '[]}'])(
    'ends at a text that is no size: %s',
    async (text) => {
      expect(await read(text, '{"Width":3,"Height":4}')).toEqual([]);
    },
  );

  test('any bytes give sizes within bounds', async () => {
    const piece = fc.oneof(fc.uint8Array({ maxLength: 50 }), fc.json());
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 6 }), async (pieces) => {
        for (const { columns, rows } of await read(...pieces)) {
          expect(Math.min(columns, rows)).toBeGreaterThan(0);
          expect(Math.max(columns, rows)).toBeLessThan(65_536);
        }
      }),
    );
  });
});
