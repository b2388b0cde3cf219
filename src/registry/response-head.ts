import { RuntimeError } from '../errors.js';

/** Repeated fields as a list; lower-case names. */
export type ResponseHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** What stands before the body of an answer. */
export interface ResponseHead {
  readonly status: number;
  readonly headers: ResponseHeaders;
  /** Length of the body; undefined when it is framed in another way than by its length, or encoded. */
  readonly bodyBytes: number | undefined;
  /** Whether the other end keeps the connection open for another request. */
  readonly isKeptAlive: boolean;
}

/** An answer that is no HTTP/1.1; the message holds nothing of it. */
export class ResponseHeadError extends RuntimeError {
  constructor(problem: string) {
    super('BAD_RESPONSE', problem);
  }
}

const MAX_HEAD_BYTES = 64 * 1024;
const MAX_INTERIM_HEADS = 8;
const START = Buffer.from('HTTP/1.');
const EMPTY_LINE = Buffer.from('\r\n\r\n');
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/**
 * Reads the head of an answer from pieces of any size; interim answers (1xx) are skipped. Strict: what two readers could understand differently is refused,
 * for a proxy on the way might.
 * @see RFC 9112 sections 2 to 6
 */
export class ResponseHeadReader {
  readonly #bytes = Buffer.allocUnsafe(MAX_HEAD_BYTES);
  #size = 0;
  #interims = 0;

  /** Whether no byte of an answer has come yet. */
  get isUntouched(): boolean {
    return this.#size === 0 && this.#interims === 0;
  }

  /**
   * Takes the next bytes. Gives the head when it is complete, and what of `chunk` lies behind it; undefined before.
   * @throws ResponseHeadError
   */
  take(chunk: Uint8Array): { readonly head: ResponseHead; readonly rest: Uint8Array } | undefined {
    for (let rest = chunk; ; ) {
      const known = this.#size;
      const added = rest.subarray(0, MAX_HEAD_BYTES - known);
      this.#bytes.set(added, known);
      this.#size += added.byteLength;
      const bytes = this.#bytes.subarray(0, this.#size);
      // At once: what speaks another protocol may never send an empty line.
      const start = Math.min(bytes.byteLength, START.byteLength);
      if (bytes.compare(START, 0, start, 0, start) !== 0)
        throw new ResponseHeadError('it does not speak HTTP/1');
      const end = bytes.indexOf(EMPTY_LINE, Math.max(0, known - EMPTY_LINE.byteLength + 1));
      if (end < 0) {
        if (this.#size === MAX_HEAD_BYTES)
          throw new ResponseHeadError(`its head has more than ${MAX_HEAD_BYTES} bytes`);
        return undefined;
      }
      rest = rest.subarray(end + EMPTY_LINE.byteLength - known);
      this.#size = 0;
      const head = parseResponseHead(bytes.toString('latin1', 0, end));
      if (head.status >= 200) return { head, rest };
      if (head.status === 101)
        throw new ResponseHeadError('it switches to a protocol that nobody asked for');
      if (++this.#interims > MAX_INTERIM_HEADS)
        throw new ResponseHeadError(`it sends more than ${MAX_INTERIM_HEADS} interim answers`);
    }
  }
}

/** Parses a head without its empty line, one character a byte. @throws ResponseHeadError */
export function parseResponseHead(text: string): ResponseHead {
  const [statusLine = '', ...lines] = text.split('\r\n');
  const [, minorVersion, code] = STATUS_LINE.exec(statusLine) ?? [];
  if (code === undefined) throw new ResponseHeadError('its status line is malformed');
  const status = Number(code);
  const fields = parseFields(lines);
  const connection = (fields.get('connection') ?? []).join(',').toLowerCase().split(',');
  return {
    status,
    headers: Object.fromEntries(
      Array.from(fields, ([name, values]) => [name, values.length === 1 ? values[0] : values]),
    ),
    bodyBytes: bodyLength(status, fields),
    isKeptAlive: minorVersion === '1' && !connection.some((option) => option.trim() === 'close'),
  };
}

function parseFields(lines: readonly string[]): Map<string, string[]> {
  const fields = new Map<string, string[]>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(colon, 0)).toLowerCase();
    const value = line.slice(colon + 1);
    // A line that goes on the one before (obs-fold) has no name either.
    if (!TOKEN.test(name) || !VALUE.test(value))
      throw new ResponseHeadError('a header field of it is malformed');
    const values = fields.get(name);
    if (values === undefined) fields.set(name, [trimBlanks(value)]);
    else values.push(trimBlanks(value));
  }
  return fields;
}

/** @see RFC 9112 section 6.3 */
function bodyLength(
  status: number,
  fields: ReadonlyMap<string, readonly string[]>,
): number | undefined {
  const lengths = fields.get('content-length');
  const length = lengths === undefined ? undefined : Number(lengths[0]);
  if (lengths !== undefined && (lengths.length > 1 || !/^[0-9]{1,16}$/.test(lengths[0] ?? '')))
    throw new ResponseHeadError('its Content-Length is malformed or stands there twice');
  if (length !== undefined && !Number.isSafeInteger(length))
    throw new ResponseHeadError('its Content-Length is beyond all measure');
  const isFramedOtherwise = fields.has('transfer-encoding');
  if (length !== undefined && isFramedOtherwise)
    throw new ResponseHeadError('it has both a Content-Length and a Transfer-Encoding');
  if (status < 200 || status === 204 || status === 304) return 0;
  const encodings = fields.get('content-encoding') ?? [];
  const isEncoded = encodings.some((encoding) => encoding.toLowerCase() !== 'identity');
  return isFramedOtherwise || isEncoded ? undefined : length;
}

/** Not `trim`, which takes more than blanks; and no expression, which would be slow where a field is nothing but blanks. */
function trimBlanks(value: string): string {
  const isBlank = (at: number) => value[at] === ' ' || value[at] === '\t';
  let start = 0;
  let end = value.length;
  while (start < end && isBlank(start)) start++;
  while (end > start && isBlank(end - 1)) end--;
  return value.slice(start, end);
}
