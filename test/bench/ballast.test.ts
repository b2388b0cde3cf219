import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { Ballast, BallastError, runBytes, stepBytes } from '../../bench/ballast.mjs';
import type { Workload } from '../../bench/contract.js';
import { InterruptedError, UndoStack } from '../../bench/undo-stack.mjs';
import { buildLimitPart, type LimitPart } from './limit-part.js';

/** Twice as much is what it lends at once. */
const BYTES = 64 << 20;
/** It takes and gives back whole steps. */
const ROUNDED = 64 << 10;

let part: LimitPart;
const opened: Ballast[] = [];

beforeAll(() => {
  const sources = ['memory_file.cc', 'memory_use.cc'];
  part = buildLimitPart('ballast', { statement: 'KeepBallast();', sources });
});

afterEach(async () => {
  for (const ballast of opened.splice(0)) await ballast.close();
});

afterAll(() => {
  part.remove();
});

function openBallast(undo = new UndoStack()): Ballast {
  const ballast = new Ballast(undo, [part.program]);
  opened.push(ballast);
  return ballast;
}

/** What is in its one file that has no name. */
function heldBytes({ pid }: Ballast): number {
  const descriptors = readdirSync(`/proc/${pid}/fd`).map((fd) => `/proc/${pid}/fd/${fd}`);
  const file = descriptors.find((path) => readlinkSync(path).endsWith(' (deleted)'));
  return statSync(file ?? '').blocks * 512;
}

function expectToHold(ballast: Ballast, bytes: number): void {
  const held = heldBytes(ballast);
  expect(held).toBeGreaterThanOrEqual(bytes - ROUNDED);
  expect(held).toBeLessThanOrEqual(bytes + ROUNDED);
}

function isAlive({ pid }: Ballast): boolean {
  if (pid === undefined) return false;
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

describe('Ballast', () => {
  test('holds what it has to lend, and again afterwards', async () => {
    const ballast = openBallast();
    await ballast.hold();
    expectToHold(ballast, 0);

    for (const bytes of [BYTES, 2 * BYTES]) {
      await ballast.lend(bytes);
      expectToHold(ballast, 0);
      await ballast.hold();
      await ballast.hold();
      expectToHold(ballast, bytes);
    }
  });

  test('goes on holding what is more than it has to lend', async () => {
    const ballast = openBallast();
    await ballast.lend(BYTES);
    await ballast.lend(3 * BYTES);
    for (let run = 0; run < 3; run++) {
      await ballast.lend(BYTES + 0.5);
      expectToHold(ballast, 2 * BYTES);
      // Of two pieces that it took one after the other.
      await ballast.lend(2 * BYTES);
      expectToHold(ballast, BYTES);
      await ballast.hold();
      expectToHold(ballast, 3 * BYTES);
    }
  });

  test('lends little more than others use up', async () => {
    const ballast = openBallast();
    await ballast.lend(16 * BYTES);
    const atFirst = heldBytes(ballast);
    expect(atFirst).toBeGreaterThan(8 * BYTES);
    const used = Array.from({ length: 8 }, () => Buffer.alloc(BYTES, 1));
    // Other tests take and give memory meanwhile.
    await vi.waitUntil(() => heldBytes(ballast) < atFirst - 2 * BYTES, { timeout: 10_000 });
    expect(used).toHaveLength(8);
    await ballast.hold();
    expectToHold(ballast, 16 * BYTES);
  });

  test('ends when it is closed', async () => {
    const ballast = openBallast();
    await ballast.lend(BYTES);
    await ballast.hold();
    expect(isAlive(ballast)).toBe(true);

    await ballast.close();
    await ballast.close();

    expect(isAlive(ballast)).toBe(false);
  });

  test('rejects when the process has ended, and when it ends', async () => {
    const idle = openBallast();
    await idle.lend(BYTES);
    process.kill(idle.pid ?? 0, 'SIGKILL');
    await expect(idle.hold()).rejects.toThrow(new BallastError('SIGKILL'));
    await expect(idle.lend(BYTES)).rejects.toThrow(BallastError);

    const asked = openBallast();
    const answer = expect(asked.lend(BYTES)).rejects.toThrow(BallastError);
    process.kill(asked.pid ?? 0, 'SIGKILL');
    await answer;
  });

  test('says what the process said', async () => {
    await expect(openBallast().lend(2 ** 60)).rejects.toThrow(
      /cannot take \d+ bytes of memory where \d+ are available: Cannot allocate/,
    );
  });

  test('rejects when it cannot be started', async () => {
    const ballast = new Ballast(new UndoStack(), [join(part.directory, 'missing')]);
    await expect(ballast.lend(BYTES)).rejects.toThrow(/ENOENT/);
    await ballast.close();
  });

  test('lets nothing begin when everything is being closed', async () => {
    const undo = new UndoStack();
    const { opened: ballast } = await undo.open(async () => openBallast(undo));
    const answer = expect(ballast.lend(BYTES)).rejects.toThrow(InterruptedError);
    expect(await undo.closeAll()).toEqual([]);
    await answer;
    await expect(ballast.hold()).rejects.toThrow(InterruptedError);
    expect(isAlive(ballast)).toBe(false);
  });
});

test('the process ends with its input, as when the benchmark is killed', async () => {
  const child = spawn(part.program, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.write(`hold ${BYTES}\n`);
  expect(String((await once(child.stdout, 'data'))[0])).toBe('done\n');
  child.stdin.end();
  expect(await once(child, 'exit')).toEqual([0, null]);
});

test.each(['hold', 'hold 5x', 'lend -5', 'drop', 'drop 5'])(
  'the process does not understand "%s"',
  (line) => {
    expect(() => execFileSync(part.program, { input: `${line}\n`, stdio: 'pipe' })).toThrow(
      `cannot understand "${line}"`,
    );
  },
);

test('a run gets more than its blobs and its tar, and a step of the limit more than a run', () => {
  const workload: Workload = {
    name: 'debian',
    compression: 'gzip',
    layoutDirectory: '/nonexistent',
    reference: '',
    layers: [1, 2].map((blobBytes) => ({
      tarPath: '',
      tarBytes: 10 * blobBytes,
      diffId: '',
      blobPath: '',
      blobBytes,
      digest: '',
    })),
    manifestDigest: '',
    entries: 0,
    tarBytes: 30,
  };
  expect(runBytes([workload])).toBe(41.25);
  expect(runBytes([workload, workload])).toBe(82.5);
  expect(stepBytes(workload)).toBe(66);
});
