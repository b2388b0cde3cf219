import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { attemptLogPath, PodLogs, type PodLogsOptions } from '../../src/pod/pod-logs.js';

let directory: string;
let logs: PodLogs;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cais-pod-logs-'));
  logs = new PodLogs(directory);
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Lines as the supervisor writes them: second of the day and text. */
function write(container: string, lines: readonly (readonly [number, string])[], attempt = 0) {
  const path = join(directory, attemptLogPath(container, attempt));
  mkdirSync(dirname(path), { recursive: true });
  const entries = lines.map(([second, text]) => {
    const time = new Date(second * 1000).toISOString().replace('Z', '000000Z');
    return `${time} stdout F ${text}\n`;
  });
  writeFileSync(path, entries.join(''));
}

/** A container that runs until `end` is called. */
function running(container: string): { end: () => Promise<void> } {
  let resolve: () => void = () => {};
  const ended = new Promise<void>((done) => {
    resolve = done;
  });
  logs.add(container, { attempt: 0, ended });
  return {
    end: () => {
      resolve();
      return ended;
    },
  };
}

async function read(options: PodLogsOptions = {}, onLine: (text: string) => void = () => {}) {
  const texts: string[] = [];
  for await (const { container, text } of logs.read(options)) {
    const line = `${container} ${text}`;
    texts.push(line);
    onLine(line);
  }
  return texts;
}

describe('logs of a pod', () => {
  test('what has ended comes in the order of time, also to a follower', async () => {
    write('a', [
      [1, 'one'],
      [4, 'four'],
    ]);
    write('b', [[2, 'two']]);
    write('b', [[3, 'three']], 1);
    for (const [name, attempt] of [['a', 0] as const, ['b', 0] as const, ['b', 1] as const])
      logs.add(name, { attempt });
    logs.finish();
    const lines = ['a one', 'b two', 'b three', 'a four'];
    expect(await read()).toEqual(lines);
    expect(await read({ follow: true })).toEqual(lines);
    expect(await read({ follow: true, container: 'b' })).toEqual(['b two', 'b three']);
  });

  test('last lines are those of the newest attempt of each container', async () => {
    write('a', [[1, 'old']]);
    write(
      'a',
      [
        [2, 'new'],
        [3, 'newer'],
      ],
      1,
    );
    for (const attempt of [0, 1]) logs.add('a', { attempt });
    logs.finish();
    expect(await read({ follow: true, tailLines: 1 })).toEqual(['a newer']);
  });

  test('a container that was started when another had ended comes behind it, however long that takes', async () => {
    const long = Array.from({ length: 20_000 }, (_, i) => [1, `${i}`] as const);
    write('init', long);
    write('a', [[0, 'hello']]);
    const init = running('init');
    const lines = await read({ follow: true }, (line) => {
      if (line !== 'init 1') return;
      void init.end().then(() => {
        logs.add('a', { attempt: 0 });
        logs.finish();
      });
    });
    expect(lines).toHaveLength(20_001);
    expect(lines.indexOf('a hello')).toBe(20_000);
  });

  test('containers that run at the same time do not wait for each other', async () => {
    write('a', [[1, 'one']]);
    write('b', [[2, 'two']]);
    const both = ['a', 'b'].map(running);
    const seen = new Set<string>();
    const lines = await read({ follow: true }, (line) => {
      seen.add(line);
      if (seen.size < 2) return;
      for (const { end } of both) void end();
      logs.finish();
    });
    expect(lines.sort()).toEqual(['a one', 'b two']);
  });

  test('a follower that leaves, with streams open and others waiting for their turn, leaves nothing open', async () => {
    write('init', [
      [1, 'one'],
      [2, 'two'],
    ]);
    write('b', []);
    write('a', [[4, 'four']]);
    const descriptors = () => readdirSync('/proc/self/fd').length;
    const leaveEarly = async () => {
      logs = new PodLogs(directory);
      const init = running('init');
      running('b');
      for await (const _line of logs.read({ follow: true })) {
        await init.end();
        logs.add('a', { attempt: 0 });
        break;
      }
    };
    // The first watch of a file opens one descriptor that stays.
    await leaveEarly();
    const before = descriptors();
    for (let i = 0; i < 20; i++) await leaveEarly();
    await expect.poll(descriptors, { timeout: 20_000 }).toBeLessThanOrEqual(before);
  });
});
