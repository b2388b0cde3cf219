/** One line of a container's output, put together from its parts. */
export interface LogEntry {
  /** When the first part was read from the container, as written in the file (RFC 3339 with nanoseconds). */
  readonly timestamp: string;
  readonly timestampNanos: bigint;
  readonly stream: 'stdout' | 'stderr';
  /** True: the line has no end yet (longer than the limit of a line, or the log stops inside it). */
  readonly partial: boolean;
  /** Bytes of the line without its newline. */
  readonly text: Buffer;
}

/** Bytes that are joined to one line at most; a longer one comes in pieces, each but the last `partial`. */
export const MAX_LINE_BYTES = 1024 * 1024;

const SPACE = 0x20;
const FULL = 0x46;
const PARTIAL = 0x50;
const TIMESTAMP = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;
const MAX_TIMESTAMP_BYTES = 40;

/** One line of the file, before parts are joined. */
interface LogPart extends LogEntry {
  readonly text: Buffer;
}

/**
 * Parses one line of a log file without its newline: `TIMESTAMP SP STREAM SP TAGS SP CONTENT`. Undefined when it is none; readers skip it.
 * @see contracts/logs.md; kubernetes/design-proposals-archive, kubelet-cri-logging.md
 */
export function parseLogLine(line: Buffer): LogPart | undefined {
  const first = line.indexOf(SPACE);
  const second = first === -1 ? -1 : line.indexOf(SPACE, first + 1);
  const third = second === -1 ? -1 : line.indexOf(SPACE, second + 1);
  if (third === -1 || first > MAX_TIMESTAMP_BYTES) return undefined;
  const timestamp = line.toString('latin1', 0, first);
  const timestampNanos = parseTimestamp(timestamp);
  const stream = line.toString('latin1', first + 1, Math.min(second, first + 8));
  if (timestampNanos === undefined || (stream !== 'stdout' && stream !== 'stderr'))
    return undefined;
  const tag = line[second + 1];
  const isTagEnded = second + 2 === third || line[second + 2] === 0x3a; // further tags come after ':'
  if ((tag !== FULL && tag !== PARTIAL) || !isTagEnded) return undefined;
  return {
    timestamp,
    timestampNanos,
    stream,
    partial: tag === PARTIAL,
    text: line.subarray(third + 1),
  };
}

/** Nanoseconds since 1970 of an RFC 3339 time, or undefined. */
export function parseTimestamp(text: string): bigint | undefined {
  const match = TIMESTAMP.exec(text);
  if (match === null) return undefined;
  const [, time = '', fraction = '', zone = 'Z'] = match;
  const milliseconds = Date.parse(`${time}${zone}`);
  if (Number.isNaN(milliseconds)) return undefined;
  return BigInt(milliseconds) * 1_000_000n + BigInt(fraction.padEnd(9, '0'));
}

/** Puts the parts of each stream's lines together. */
export class LineJoiner {
  readonly #open = new Map<
    LogEntry['stream'],
    { first: LogPart; pieces: Buffer[]; bytes: number }
  >();

  /** Takes the next part and returns the line that it ends, if it does. Copies what it keeps. */
  push(part: LogPart): LogEntry | undefined {
    const open = this.#open.get(part.stream) ?? { first: part, pieces: [], bytes: 0 };
    open.pieces.push(Buffer.from(part.text));
    open.bytes += part.text.length;
    if (part.partial && open.bytes < MAX_LINE_BYTES) {
      this.#open.set(part.stream, open);
      return undefined;
    }
    this.#open.delete(part.stream);
    return joined(open, part.partial);
  }

  /** Lines that have no end because the log stops here. */
  *rest(): Iterable<LogEntry> {
    for (const open of this.#open.values()) yield joined(open, true);
    this.#open.clear();
  }
}

function joined(
  { first, pieces }: { first: LogPart; pieces: readonly Buffer[] },
  partial: boolean,
): LogEntry {
  const { timestamp, timestampNanos, stream } = first;
  const [only] = pieces;
  const text = pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces);
  return { timestamp, timestampNanos, stream, partial, text };
}
