import { describe, expect, test } from 'vitest';
import { computeLimits, type LayerStages, median } from '../../bench/limit/arithmetic.mjs';

const SUBJECT = {
  question: 'extract',
  workload: 'app',
  compression: 'gzip',
  layerBytes: [100],
  cores: 2,
} as const;

/** Every stage costs this, but for those named. */
function makeLayer(seconds: number, others: Record<string, number> = {}): LayerStages {
  const stages = [
    'decompress',
    'sha256-blob',
    'sha256-tar',
    'write-blob',
    'write-tar',
    'create-1',
    'create-2',
    'transfer',
  ];
  return Object.fromEntries(
    stages.map((stage) => {
      const cost = others[stage] ?? seconds;
      return [stage, { seconds: cost, cpuSeconds: cost }];
    }),
  );
}

describe('computeLimits()', () => {
  test('takes the CPU seconds divided by the cores when no stage is that slow', () => {
    const [image] = computeLimits([{ layers: [makeLayer(0.2)] }], SUBJECT);
    expect(image?.form).toBe('image');
    expect(image?.seconds).toBeCloseTo(0.5);
  });

  test('takes the slowest stage when that is more', () => {
    const layers = [makeLayer(0.1, { decompress: 2 })];
    expect(computeLimits([{ layers }], SUBJECT)[0]?.seconds).toBe(2);
  });

  test('takes the cheaper way of creating the tree', () => {
    const layers = [makeLayer(0.2, { 'create-1': 1.6, 'create-2': 1.2 })];
    const directory = computeLimits([{ layers }], SUBJECT)[1];
    expect(directory?.seconds).toBe(1.2);
    expect(directory?.stages).toHaveProperty('create-2');
    expect(directory?.stages).not.toHaveProperty('create-1');
    expect(directory?.stages).not.toHaveProperty('write-tar');
  });

  test('waits for the largest layer alone, since layers run beside each other', () => {
    const layers = [makeLayer(0.1, { decompress: 3 }), makeLayer(0.1, { decompress: 2 })];
    const subject = { ...SUBJECT, layerBytes: [10, 100], cores: 8 };
    const [image] = computeLimits([{ layers }], subject);
    expect(image?.seconds).toBe(2);
    expect(image?.stages['decompress']).toBe(5);
  });

  test('adds the transfer at both ends to a pull', () => {
    const rounds = [{ layers: [makeLayer(0.2)], registryCpuSeconds: 0.4 }];
    const [image] = computeLimits(rounds, { ...SUBJECT, question: 'pull' });
    expect(image?.seconds).toBeCloseTo((6 * 0.2 + 0.4) / 2);
    expect(image?.stageCpuSeconds['registry']).toBe(0.4);
    expect(image?.stages).not.toHaveProperty('registry');
    expect(computeLimits(rounds, SUBJECT)[0]?.stages).not.toHaveProperty('transfer');
  });

  test('takes the median of each stage over the rounds', () => {
    const rounds = [1, 9, 2].map((decompress) => ({ layers: [makeLayer(0.1, { decompress })] }));
    expect(computeLimits(rounds, SUBJECT)[0]?.stages['decompress']).toBe(2);
  });
});

test('median() is the mean of the middle two of an even number', () => {
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(median([3, 1, 2])).toBe(2);
  expect(() => median([])).toThrow('No median');
});
