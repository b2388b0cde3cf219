import { describe, expect, it } from 'vitest';
import { parseSignal } from '../../src/runtime/signal.js';

describe('parseSignal()', () => {
  it.each([
    ['SIGTERM', 15],
    ['term', 15],
    ['9', 9],
    ['SIGRTMIN+3', 37],
    ['RTMAX-1', 63],
    ['SIGRTMIN', 34],
    ['SIGWINCH', 28],
  ])('%j is %i', (text, expected) => {
    expect(parseSignal(text)).toBe(expected);
  });

  it.each(['', '0', '65', '-9', 'SIGFOO', 'RTMIN-1', 'RTMAX+1', 'toString', '15x'])(
    'refuses %j',
    (text) => {
      expect(() => parseSignal(text)).toThrow('Unknown signal');
    },
  );
});
