import { describe, expect, test } from 'vitest';
import { fromSignalNumber, toSignalName } from '../../src/cri/convert-signal.js';
import { Signal } from '../../src/cri/generated/api.js';
import { parseSignal } from '../../src/runtime/signal.js';

describe('signals', () => {
  const signals = Object.values(Signal).filter((value) => typeof value === 'number');

  test('have names that the engine knows, except for the default', () => {
    expect(toSignalName(Signal.SIGNAL_RUNTIME_DEFAULT)).toBeUndefined();
    for (const signal of signals.slice(1)) {
      const name = toSignalName(signal) ?? '';
      expect(parseSignal(name), name).toBeGreaterThan(0);
    }
  });

  test('come back as the same number', () => {
    for (let number = 1; number <= 64; number++) {
      const signal = fromSignalNumber(number);
      // The two that the C library keeps to itself, and one that no system uses any more.
      if (number === 32 || number === 33) continue;
      expect(signal, String(number)).not.toBe(Signal.SIGNAL_RUNTIME_DEFAULT);
      expect(parseSignal(toSignalName(signal) ?? '')).toBe(number);
    }
  });
});
