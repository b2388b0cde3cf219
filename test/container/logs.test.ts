import {
  appendFileSync,
  mkdtempSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type LogEntry,
  MAX_LINE_BYTES,
  parseLogLine,
  parseTimestamp,
} from '../../src/container/log-entry.js';
import { type ReadLogOptions, readLog } from '../../src/container/logs.js';

const TIME = '2016-10-06T00:17:09.669794202Z';

function line(text: string, { tag = 'F', stream = 'stdout', time = TIME } = {}): string {
  return `${time} ${stream} ${tag} ${text}\n`;
}

describe('parseLogLine()', () => {
  test('reads a line, further tags left out', () => {
    expect(parseLogLine(Buffer.from(`${TIME} stderr P:x a b `))).toEqual({
      timestamp: TIME,
      timestampNanos: 1475713029669794202n,
      stream: 'stderr',
      partial: true,
      text: Buffer.from('a b '),
    });
  });

  test('reads an empty line', () => {
    expect(parseLogLine(Buffer.from(`${TIME} stdout F `))?.text).toEqual(Buffer.alloc(0));
  });

  test.each([
    ['2016-10-06T00:17:09Z', 1475713029000000000n],
    ['2016-10-06T00:17:09.5Z', 1475713029500000000n],
    ['2016-10-06T02:17:09.000000001+02:00', 1475713029000000001n],
  ])('takes the time %s', (text, nanos) => {
    expect(parseTimestamp(text)).toBe(nanos);
  });

  test.each([
    '',
    'x',
    `${TIME} stdout F`,
    `${TIME} stdin F x`,
    `${TIME} stdout G x`,
    `${TIME} stdout FF x`,
    'now stdout F x',
  ])('takes %j for no entry', (text) => {
    expect(parseLogLine(Buffer.from(text))).toBeUndefined();
  });

  test('takes any bytes', () => {
    fc.assert(fc.property(fc.uint8Array(), (bytes) => void parseLogLine(Buffer.from(bytes))));
  });
});

describe('readLog()', () => {
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'cais-logs-'));
    path = join(directory, '0.log');
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  async function texts(options: ReadLogOptions = {}): Promise<string[]> {
    const found: string[] = [];
    for await (const { text } of readLog(path, options)) found.push(text.toString());
    return found;
  }

  /** Steps of a follower: each call waits for the next line. */
  function follow(options: ReadLogOptions = {}) {
    const ended = new AbortController();
    const iterator = readLog(path, { follow: true, ended: ended.signal, ...options });
    const next = async () => (await iterator.next()).value as LogEntry | undefined;
    const nextText = async () => (await next())?.text.toString();
    return { iterator, nextText, end: () => ended.abort() };
  }

  test('joins the parts of a line of each stream', async () => {
    writeFileSync(
      path,
      line('a', { tag: 'P' }) +
        line('x', { tag: 'P', stream: 'stderr' }) +
        line('b') +
        line('y', { stream: 'stderr' }),
    );
    const entries: LogEntry[] = [];
    for await (const entry of readLog(path)) entries.push(entry);
    expect(entries.map(({ stream, text, partial }) => [stream, String(text), partial])).toEqual([
      ['stdout', 'ab', false],
      ['stderr', 'xy', false],
    ]);
  });

  test('yields a last line without its end as partial', async () => {
    writeFileSync(path, line('a', { tag: 'P' }));
    const entries: LogEntry[] = [];
    for await (const entry of readLog(path)) entries.push(entry);
    expect(entries).toMatchObject([{ partial: true, text: Buffer.from('a') }]);
  });

  test('yields pieces of a line without end, so that memory is bounded', async () => {
    const part = line('x'.repeat(16_384), { tag: 'P' });
    writeFileSync(path, part.repeat(MAX_LINE_BYTES / 16_384 + 1));
    const lengths: number[] = [];
    for await (const { text } of readLog(path)) lengths.push(text.length);
    expect(lengths).toEqual([MAX_LINE_BYTES, 16_384]);
  });

  test('leaves out what is no entry, also when it is huge', async () => {
    writeFileSync(path, `garbage\n${line('a')}${'x'.repeat(3 * 1024 * 1024)}\n${line('b')}`);
    expect(await texts()).toEqual(['a', 'b']);
  });

  test('an absent file has no lines', async () => {
    expect(await texts()).toEqual([]);
  });

  test.each([0, 1, 2, 3, 5])('begins with the last %i lines', async (tailLines) => {
    writeFileSync(path, line('a') + line('b1', { tag: 'P' }) + line('b2') + line('c'));
    expect(await texts({ tailLines })).toEqual(
      ['a', 'b1b2', 'c'].slice(-tailLines || 3, tailLines === 0 ? 0 : 3),
    );
  });

  test('finds the last lines of a file of many blocks', async () => {
    const all = Array.from({ length: 5000 }, (_, index) => `${index} ${'x'.repeat(index % 300)}`);
    writeFileSync(path, all.map((text) => line(text)).join(''));
    for (const tailLines of [1, 777, 4999, 5000, 6000]) {
      expect(await texts({ tailLines })).toEqual(all.slice(-tailLines));
    }
  });

  test('leaves out lines from before a time', async () => {
    writeFileSync(
      path,
      line('old', { time: '2016-10-06T00:00:00Z' }) + line('new', { time: '2016-10-06T00:00:01Z' }),
    );
    expect(await texts({ sinceNanos: parseTimestamp('2016-10-06T00:00:01Z') ?? 0n })).toEqual([
      'new',
    ]);
  });

  test('follows a file that is made later, in pieces of a line, until it has ended', async () => {
    const { nextText, end } = follow();
    const first = nextText();
    const [head, tail] = [line('hello').slice(0, 20), line('hello').slice(20)];
    writeFileSync(path, head);
    appendFileSync(path, tail);
    expect(await first).toBe('hello');
    const second = nextText();
    appendFileSync(path, line('world'));
    expect(await second).toBe('world');
    const last = nextText();
    appendFileSync(path, line('end'));
    end();
    expect(await last).toBe('end');
    expect(await nextText()).toBeUndefined();
  });

  test('follows over rotation and reads the old file to its end', async () => {
    writeFileSync(path, line('one'));
    const { nextText, end } = follow();
    expect(await nextText()).toBe('one');
    const next = nextText();
    appendFileSync(path, line('two'));
    renameSync(path, `${path}.1`);
    writeFileSync(path, line('three'));
    expect(await next).toBe('two');
    expect(await nextText()).toBe('three');
    end();
    expect(await nextText()).toBeUndefined();
  });

  test('begins again after the file was cut', async () => {
    writeFileSync(path, line('one') + line('two'));
    const { nextText, end } = follow();
    expect([await nextText(), await nextText()]).toEqual(['one', 'two']);
    const next = nextText();
    truncateSync(path, 0);
    appendFileSync(path, line('3'));
    expect(await next).toBe('3');
    end();
    expect(await nextText()).toBeUndefined();
  });

  test('an aborted signal ends a follower without an error', async () => {
    const controller = new AbortController();
    writeFileSync(path, line('one'));
    const { nextText } = follow({ signal: controller.signal });
    expect(await nextText()).toBe('one');
    const next = nextText();
    controller.abort();
    expect(await next).toBeUndefined();
  });

  test('reads back any lines, however they are cut', async () => {
    const part = fc.record({
      text: fc.string().map((text) => text.replaceAll('\n', '')),
      cut: fc.nat(5),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(part, { maxLength: 30 }), async (parts) => {
        const lines = parts.map(({ text, cut }) => {
          const at = Math.min(cut, text.length);
          return at === 0
            ? line(text)
            : line(text.slice(0, at), { tag: 'P' }) + line(text.slice(at));
        });
        writeFileSync(path, lines.join(''));
        expect(await texts()).toEqual(parts.map(({ text }) => Buffer.from(text).toString()));
      }),
      { numRuns: 50 },
    );
  });
});
