import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../src/errors.js';
import {
  divideQuantity,
  milliUnits,
  parseQuantity,
  wholeUnits,
} from '../../src/objects/quantity.js';

describe('parseQuantity()', () => {
  test.each([
    ['0', 0n],
    ['1', 1_000_000_000n],
    ['500m', 500_000_000n],
    ['1.5', 1_500_000_000n],
    ['.5', 500_000_000n],
    ['5.', 5_000_000_000n],
    ['128Mi', 134_217_728_000_000_000n],
    ['1e3', 1_000_000_000_000n],
    ['1E3', 1_000_000_000_000n],
    ['1E', 10n ** 27n],
    ['12e-3', 12_000_000n],
    ['0.5Ki', 512_000_000_000n],
    ['100n', 100n],
    ['0.1n', 1n],
    ['-1', -1_000_000_000n],
  ])('reads %s', (text, nanos) => {
    expect(parseQuantity(text).nanos).toBe(nanos);
  });

  test.each([
    '',
    'x',
    '1x',
    '1 Mi',
    '1mi',
    'Mi',
    '1e',
    '1.2.3',
    '0x10',
    '1e100',
    '9999999999999999999',
    '٣',
  ])('refuses %j', (text) => {
    expect(() => parseQuantity(text)).toThrow(InvalidArgumentError);
  });

  test('takes any text without another error than its own', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          parseQuantity(text);
        } catch (error) {
          expect(error).toBeInstanceOf(InvalidArgumentError);
        }
      }),
    );
  });

  test('reads back whole numbers exactly', () => {
    fc.assert(
      fc.property(fc.nat(), (number) => {
        expect(wholeUnits(parseQuantity(number))).toBe(number);
        expect(milliUnits(parseQuantity(`${number}m`))).toBe(number);
      }),
    );
  });
});

test('divideQuantity() rounds up', () => {
  expect(divideQuantity(parseQuantity('250m'), parseQuantity('1'))).toBe(1n);
  expect(divideQuantity(parseQuantity('250m'), parseQuantity('1m'))).toBe(250n);
  expect(divideQuantity(parseQuantity('1Mi'), parseQuantity('1k'))).toBe(1049n);
});
