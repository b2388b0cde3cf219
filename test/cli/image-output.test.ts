import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { openProgress } from '../../src/cli/progress.js';
import { formatAge, formatBytes, formatTable } from '../../src/cli/table.js';
import type { Digest } from '../../src/digest.js';
import type { PullPhase } from '../../src/image/pull-progress.js';

const digest = `sha256:${'ab'.repeat(32)}` as Digest;
const event = (phase: PullPhase, bytes: number) => ({
  digest,
  phase,
  bytes,
  totalBytes: 2_500_000,
});
const PHASES = [
  event('waiting', 0),
  event('downloading', 1),
  event('downloading', 2_000_000),
  event('extracting', 2_500_000),
  event('done', 2_500_000),
];

function capture({ isTTY }: { isTTY: boolean }) {
  const stream = new PassThrough() as PassThrough & {
    isTTY: boolean;
    columns: number;
    rows: number;
  };
  Object.assign(stream, {
    isTTY,
    columns: 80,
    rows: 24,
    cursorTo: () => true,
    clearLine: () => true,
    moveCursor: () => true,
  });
  return {
    stream: stream as unknown as NodeJS.WriteStream,
    text: () => String(stream.read() ?? ''),
  };
}

describe('openProgress()', () => {
  it('writes a line for each layer that begins and ends where there is no terminal', async () => {
    const { stream, text } = capture({ isTTY: false });
    const display = await openProgress(stream);
    for (const progress of PHASES) display.update(progress);
    display.stop();
    expect(text()).toBe('abababababab: downloading (2.50 MB)\nabababababab: done (2.50 MB)\n');
  });

  it('draws a bar for each layer on a terminal', async () => {
    const { stream, text } = capture({ isTTY: true });
    const display = await openProgress(stream);
    for (const progress of PHASES) display.update(progress);
    display.stop();
    const shown = text();
    expect(shown).toContain('abababababab');
    expect(shown).toContain('━'.repeat(30));
    expect(shown).toContain('2.50 MB');
    expect(shown).toContain('done');
  });
});

it('formatTable() aligns columns and leaves no space at line ends', () => {
  const columns = [
    { heading: 'NAME', cell: ([name]: string[]) => name ?? '' },
    { heading: 'X', cell: ([, x]: string[]) => x ?? '' },
  ];
  expect(
    formatTable(columns, [
      ['a', '1'],
      ['longer', ''],
    ]),
  ).toBe('NAME    X\na       1\nlonger\n');
});

it.each([
  [0, '0 B'],
  [999, '999 B'],
  [1000, '1.00 kB'],
  [12_345_678, '12.3 MB'],
  [5e15, '5000 TB'],
])('formatBytes(%i) is %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

it.each([
  ['2026-01-01T00:00:00Z', '1 second ago'],
  ['2025-12-31T22:00:00Z', '2 hours ago'],
  ['2024-01-01T00:00:00Z', '2 years ago'],
  ['2030-01-01T00:00:00Z', '0 seconds ago'],
  ['', ''],
])('formatAge(%s) is %s', (time, text) => {
  expect(formatAge(time, Date.parse('2026-01-01T00:00:01Z'))).toBe(text);
});
