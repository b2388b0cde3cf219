import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CgroupUsageReader, NO_USAGE } from '../../src/sandbox/cgroup-usage.js';
import {
  parseInterfaceCounters,
  readInterfaceCounters,
} from '../../src/sandbox/network-counters.js';

describe('parseInterfaceCounters()', () => {
  const head = readFileSync('/proc/net/dev', 'latin1').split('\n').slice(0, 2).join('\n');
  const counter = fc.nat({ max: 2 ** 31 - 1 });
  const link = fc.record({
    name: fc.stringMatching(/^[a-z][a-z0-9:.@_-]{0,14}$/).filter((name) => name !== 'lo'),
    numbers: fc.array(counter, { minLength: 16, maxLength: 16 }),
  });

  it('finds every interface but the loopback', () => {
    fc.assert(
      fc.property(fc.array(link, { maxLength: 8 }), (links) => {
        const lines = links.map(({ name, numbers }) => `${name.padStart(6)}: ${numbers.join(' ')}`);
        const text = `${head}\n    lo:       1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n${lines.join('\n')}\n`;
        expect(parseInterfaceCounters(text)).toEqual(
          links.map(({ name, numbers: n }) => ({
            name,
            rxBytes: n[0],
            rxPackets: n[1],
            rxErrors: n[2],
            rxDropped: n[3],
            txBytes: n[8],
            txPackets: n[9],
            txErrors: n[10],
            txDropped: n[11],
          })),
        );
      }),
    );
  });

  it('leaves out what it does not understand', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 300 }), (text) => {
        for (const { rxBytes } of parseInterfaceCounters(text)) expect(rxBytes).not.toBeNaN();
      }),
    );
  });

  it('a process that is gone has none', () => {
    expect(readInterfaceCounters(2 ** 22 + 1)).toEqual([]);
    expect(readInterfaceCounters(process.pid)).toBeInstanceOf(Array);
  });
});

describe('CgroupUsageReader', () => {
  beforeEach(() => void vi.useFakeTimers({ now: 1_700_000_000_000 }));
  afterEach(() => void vi.useRealTimers());

  const options = { sinceNanos: (1_700_000_000_000n - 4000n) * 1_000_000n, processes: false };

  it('rates are of two readings, the first one since the start; close ones give the last rate again', async () => {
    let cpuUsageNanos = 2e9;
    const reader = new CgroupUsageReader({
      readCgroupStats: async () => ({ ...NO_USAGE, cpuUsageNanos }),
    });
    const rate = async () => (await reader.read('a', options)).cpuUsageNanoCores;
    expect(await rate()).toBe(5e8);
    cpuUsageNanos = 4e9;
    vi.advanceTimersByTime(100);
    expect(await rate()).toBe(5e8);
    vi.advanceTimersByTime(900);
    expect(await rate()).toBe(2e9);
    // Another cgroup of that name.
    cpuUsageNanos = 0;
    vi.advanceTimersByTime(1000);
    expect(await rate()).toBe(0);
  });

  it('rates do not stand still when the clock of the machine is set back', async () => {
    let cpuUsageNanos = 2e9;
    const reader = new CgroupUsageReader({
      readCgroupStats: async () => ({ ...NO_USAGE, cpuUsageNanos }),
    });
    expect((await reader.read('a', options)).cpuUsageNanoCores).toBe(5e8);
    vi.setSystemTime(Date.now() - 3_600_000);
    vi.advanceTimersByTime(1000);
    cpuUsageNanos += 1e9;
    expect((await reader.read('a', options)).cpuUsageNanoCores).toBe(1e9);
  });

  it('what is left up to the limits, and zeros for what is gone', async () => {
    const limited = { memoryLimitBytes: 100, memoryWorkingSetBytes: 30 };
    const swap = { memorySwapLimitBytes: 50, memorySwapBytes: 60 };
    const reader = new CgroupUsageReader({
      readCgroupStats: async (path) => {
        if (path === 'gone') throw Object.assign(new Error('gone'), { code: 'ENOENT' });
        if (path === 'broken') throw Object.assign(new Error('broken'), { code: 'EIO' });
        return { ...NO_USAGE, ...limited, ...swap };
      },
    });
    expect(await reader.read('a', options)).toMatchObject({
      memoryAvailableBytes: 70,
      swapAvailableBytes: 0,
      atNanos: 1_700_000_000_000_000_000n,
    });
    const gone = await reader.read('gone', options);
    expect(gone.cgroup).toEqual(NO_USAGE);
    expect(gone.cpuUsageNanoCores).toBeUndefined();
    expect(gone.memoryAvailableBytes).toBeUndefined();
    await expect(reader.read('broken', options)).rejects.toThrow('broken');
  });
});
