import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  parseResponseHead,
  ResponseHeadError,
  ResponseHeadReader,
} from '../../src/registry/response-head.js';

/** What a reader makes of pieces: the head and what follows it, or why there is none. */
function read(pieces: readonly Uint8Array[]) {
  const reader = new ResponseHeadReader();
  for (const [i, piece] of pieces.entries()) {
    try {
      const taken = reader.take(piece);
      if (taken === undefined) continue;
      const rest = Buffer.concat([taken.rest, ...pieces.slice(i + 1)]).toString('latin1');
      return { head: taken.head, rest };
    } catch (error) {
      if (!(error instanceof ResponseHeadError)) throw error;
      return { problem: error.message };
    }
  }
  return { isIncomplete: true };
}

function split(bytes: Buffer, positions: readonly number[]): Buffer[] {
  const cuts = positions.map((position) => position % (bytes.length + 1)).sort((a, b) => a - b);
  return [...cuts, bytes.length].map((end, i) => bytes.subarray(i === 0 ? 0 : cuts[i - 1], end));
}

const latin1 = (text: string) => Buffer.from(text, 'latin1');
const problemOf = (text: string) => read([latin1(text)]).problem;
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nx-a:\t2 \r\nServer: a b\r\n\r\nhello';

describe('ResponseHeadReader', () => {
  it('reads status, fields and length, split at every position', () => {
    const bytes = latin1(OK);
    const expected = {
      head: {
        status: 200,
        headers: { 'content-length': '5', 'x-a': ['1', '2'], server: 'a b' },
        bodyBytes: 5,
        isKeptAlive: true,
      },
      rest: 'hello',
    };
    for (let at = 0; at <= bytes.length; at++) expect(read(split(bytes, [at]))).toEqual(expected);
    expect(read(Array.from(bytes, (byte) => Buffer.of(byte)))).toEqual(expected);
  });

  it('skips interim answers, but not without end and no other protocol', () => {
    const interim = 'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n';
    const bytes = latin1(interim.repeat(8) + OK);
    const whole = read([bytes]);
    expect(whole.head?.status).toBe(200);
    for (let at = 0; at <= bytes.length; at += 7) expect(read(split(bytes, [at]))).toEqual(whole);
    expect(problemOf(interim.repeat(9) + OK)).toContain('interim');
    expect(problemOf('HTTP/1.1 101 Switching Protocols\r\n\r\n')).toContain('switches');
  });

  it.each([
    ['HTTP/1.1 200\r\n\r\n', undefined, true],
    ['HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n', 1, false],
    ['HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: x, Close\r\n\r\n', 1, false],
    [
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: x\r\nConnection: close\r\n\r\n',
      1,
      false,
    ],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', undefined, true],
    ['HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Encoding: gzip\r\n\r\n', undefined, true],
    ['HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Encoding: Identity\r\n\r\n', 1, true],
    ['HTTP/1.1 204 No Content\r\n\r\n', 0, true],
    ['HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n', 0, true],
    [`HTTP/1.1 200 OK\r\nContent-Length: ${2 ** 53 - 1}\r\n\r\n`, 2 ** 53 - 1, true],
    ['HTTP/1.1 200 OK\r\n__proto__: x\r\nContent-Length: 0\r\n\r\n', 0, true],
  ])('knows the length of the body and the end of the connection: %j', (text, bytes, isKept) => {
    expect(read([latin1(text)]).head).toMatchObject({ bodyBytes: bytes, isKeptAlive: isKept });
  });

  it.each([
    ['SSH-2.0-OpenSSH', 'does not speak HTTP/1'],
    ['HTTP/2 200\r\n\r\n', 'does not speak HTTP/1'],
    ['\r\n', 'does not speak HTTP/1'],
    ['HTTP/1.2 200 OK\r\n\r\n', 'status line'],
    ['HTTP/1.1 2000 OK\r\n\r\n', 'status line'],
    ['HTTP/1.1  200 OK\r\n\r\n', 'status line'],
    ['HTTP/1.1 600 OK\r\n\r\n', 'status line'],
    ['HTTP/1.1 200 O\0K\r\n\r\n', 'status line'],
    ['HTTP/1.1 200 OK\nA: b\r\n\r\n', 'status line'],
    ['HTTP/1.1 200 OK\r\nA b: c\r\n\r\n', 'header field'],
    ['HTTP/1.1 200 OK\r\nA : b\r\n\r\n', 'header field'],
    ['HTTP/1.1 200 OK\r\n: b\r\n\r\n', 'header field'],
    ['HTTP/1.1 200 OK\r\nA\r\n\r\n', 'header field'],
    ['HTTP/1.1 200 OK\r\nA: b\r\n c: d\r\n\r\n', 'header field'],
    ['HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n', 'header field'],
    ['HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n', 'header field'],
    ['HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n', 'header field'],
    ['HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n', 'Content-Length'],
    ['HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n', 'Content-Length'],
    ['HTTP/1.1 200 OK\r\nContent-Length: 0x1\r\n\r\n', 'Content-Length'],
    ['HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n', 'Content-Length'],
    ['HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n', 'Content-Length'],
    ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n', 'Content-Length'],
    ['HTTP/1.1 304 OK\r\nContent-Length: x\r\n\r\n', 'Content-Length'],
    [`HTTP/1.1 200 OK\r\nContent-Length: ${2 ** 53}\r\n\r\n`, 'beyond all measure'],
    ['HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n', 'both'],
  ])('refuses %j', (text, problem) => {
    expect(problemOf(text)).toContain(problem);
  });

  it('refuses a head that is too long, ended or not, after at most that much', () => {
    const fill = (bytes: number) => `HTTP/1.1 200 OK\r\nA: ${'x'.repeat(bytes - 24)}\r\n\r\n`;
    expect(read([latin1(fill(65_536))]).head?.status).toBe(200);
    for (const text of [fill(65_537), fill(300_000), fill(70_000).slice(0, 65_536)]) {
      const whole = read([latin1(text)]);
      expect(whole.problem).toContain('more than 65536 bytes');
      expect(read(split(latin1(text), [1, 60_000, 65_535, 65_536]))).toEqual(whole);
    }
    expect(read([latin1(fill(70_000).slice(0, 65_535))])).toEqual({ isIncomplete: true });
  });

  it('takes time in proportion to a field of nothing but blanks', () => {
    const start = performance.now();
    parseResponseHead(`HTTP/1.1 200 OK\r\nA:${' '.repeat(60_000)}x${'\t'.repeat(60_000)}`);
    expect(performance.now() - start).toBeLessThan(1_000);
  });

  it('says the same of any bytes however they are split, and throws nothing but its error', () => {
    const part = fc.constantFrom(
      ...['HTTP/1.1', 'HTTP/1.0', ' ', '200', '100', '204', 'OK', '\r\n', '\r\n\r\n', '\n', '\r'],
      ...['Content-Length', 'Transfer-Encoding', 'Content-Encoding', 'Connection', ': ', ':'],
      ...['5', '18446744073709551616', 'chunked', 'close', ',', '\t', '\0', 'é', '__proto__'],
    );
    const made = fc.array(part, { maxLength: 40 }).map((parts) => latin1(parts.join('')));
    const mutated = fc
      .tuple(
        fc.constantFrom(OK, `HTTP/1.1 100 C\r\n\r\n${OK}`),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }),
      )
      .map(([text, changes]) => {
        const bytes = latin1(text);
        for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
        return bytes;
      });
    const raw = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
    fc.assert(
      fc.property(
        fc.oneof(mutated, made, raw),
        fc.array(fc.nat(), { maxLength: 8 }),
        (bytes, cuts) => {
          const whole = read([bytes]);
          expect(read(split(bytes, cuts))).toEqual(whole);
          if (whole.head === undefined) return;
          // What has a head is a head, field by field, and what follows is untouched.
          expect(whole.head.status).toBeGreaterThanOrEqual(200);
          expect(bytes.toString('latin1').endsWith(whole.rest)).toBe(true);
        },
      ),
      { numRuns: 3_000 },
    );
  });
});
