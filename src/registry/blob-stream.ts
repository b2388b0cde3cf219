import type { BlobSink, PlainConnection, Reception } from './blob-sink.js';
import { RegistryError } from './registry-error.js';
import { connectionError, isTransientFault, type TransportResponse } from './transport.js';

export interface BlobPourOptions {
  /** For errors: `Cannot pull "x": layer sha256:…`. */
  readonly what: string;
  /** Where the blob is, for errors. */
  readonly url: URL;
  readonly sizeBytes: number;
  readonly offsetBytes: number;
  readonly signal?: AbortSignal | undefined;
  /** Asks for the blob from `offsetBytes` on; answers 200 or 206, and throws for every other status. */
  readonly open: (offsetBytes: number) => Promise<TransportResponse>;
}

/** Connections in a row that may break without delivering a byte (contract E25). */
const MAX_FRUITLESS_CONNECTIONS = 3;

/**
 * Pours a blob from `offsetBytes` to its end. A connection that breaks is replaced by one that goes on at the offset reached; a
 * registry that ignores Range is read from the start and the known part thrown away. The content is not verified here, but its
 * length is, and an answer that lies about its range is refused.
 * @throws RegistryError `UNAVAILABLE`, `TIMED_OUT`, `SIZE_MISMATCH`, `BAD_RESPONSE`; the reason of `signal`; what `sink` throws.
 * @see RFC 9110 section 14.4
 */
export async function pourBlob(options: BlobPourOptions, sink: BlobSink): Promise<void> {
  const { what, url, sizeBytes, signal } = options;
  const progress = new PouringSink(sink, options);
  if (progress.offset > 0 && progress.offset === sizeBytes) return;
  for (let fruitless = 0; ; ) {
    const start = progress.offset;
    const response = await options.open(start);
    let fault: unknown;
    try {
      try {
        progress.surplus = checkHead(response, { what, offset: start, sizeBytes });
      } catch (error) {
        await response.body.discard();
        throw error;
      }
      await response.body.pour(progress);
      if (progress.offset === sizeBytes) return;
    } catch (error) {
      signal?.throwIfAborted();
      if (progress.refusal !== undefined) throw progress.refusal.reason;
      if (!isTransientFault(error)) throw connectionError({ what, url }, error);
      fault = error;
    }
    const { offset } = progress;
    if (offset === sizeBytes && offset > start) return;
    fruitless = offset > start ? 1 : fruitless + 1;
    if (fruitless > MAX_FRUITLESS_CONNECTIONS) throw cutConnection(options, offset, fault);
  }
}

/** Counts what a sink takes, over several connections. */
class PouringSink implements BlobSink {
  /** How much of the blob the sink has. */
  offset: number;
  /** How many bytes to come the sink has already. */
  surplus = 0;
  /** Why the sink takes no more, which is no fault of the connection whatever its code says. */
  refusal: { readonly reason: unknown } | undefined;
  readonly #sink: BlobSink;
  readonly #options: BlobPourOptions;

  constructor(sink: BlobSink, options: BlobPourOptions) {
    this.#sink = sink;
    this.#options = options;
    this.offset = options.offsetBytes;
  }

  get receive(): BlobSink['receive'] {
    const { receive } = this.#sink;
    const isAllWanted = this.surplus === 0;
    return receive && isAllWanted ? (connection) => this.#receive(receive, connection) : undefined;
  }

  write(chunk: Uint8Array): boolean {
    const { what, sizeBytes } = this.#options;
    const skipped = Math.min(this.surplus, chunk.byteLength);
    this.surplus -= skipped;
    const bytes = skipped === 0 ? chunk : chunk.subarray(skipped);
    this.offset += bytes.byteLength;
    if (this.offset > sizeBytes) throw sizeMismatch(what, sizeBytes, 'more');
    if (bytes.byteLength === 0) return true;
    try {
      return this.#sink.write(bytes);
    } catch (reason) {
      throw this.#refuse(reason);
    }
  }

  async drained(): Promise<void> {
    await this.#sink.drained().catch((reason: unknown) => {
      throw this.#refuse(reason);
    });
  }

  async #receive(
    receive: NonNullable<BlobSink['receive']>,
    connection: PlainConnection,
  ): Promise<Reception> {
    const { what, sizeBytes } = this.#options;
    if (this.offset + connection.bytes > sizeBytes) throw sizeMismatch(what, sizeBytes, 'more');
    const reception = await receive(connection).catch((reason: unknown) => {
      throw this.#refuse(reason);
    });
    this.offset += reception.bytes;
    return reception;
  }

  #refuse(reason: unknown): unknown {
    this.refusal = { reason };
    return reason;
  }
}

/** Checks status, length and range of an answer; returns how many bytes at its start are known already. */
function checkHead(
  response: TransportResponse,
  {
    what,
    offset,
    sizeBytes,
  }: { readonly what: string; readonly offset: number; readonly sizeBytes: number },
): number {
  const isPartial = response.status === 206;
  const range = response.headers['content-range'];
  const expectedLength = isPartial ? sizeBytes - offset : sizeBytes;
  if (isPartial) {
    const match = /^bytes ([0-9]{1,16})-([0-9]{1,16})\/([0-9]{1,16}|\*)$/.exec(String(range ?? ''));
    const [, first, last, total] = match ?? [];
    const isAsked =
      offset > 0 &&
      Number(first) === offset &&
      Number(last) === sizeBytes - 1 &&
      (total === '*' || Number(total) === sizeBytes);
    if (!isAsked) {
      const shown = JSON.stringify(range ?? '').slice(0, 80);
      throw new RegistryError(
        'BAD_RESPONSE',
        `${what}: asked ${response.host} for bytes ${offset}-${sizeBytes - 1}/${sizeBytes}, got the range ${shown}`,
      );
    }
  }
  const length = response.headers['content-length'];
  if (typeof length === 'string' && Number(length) !== expectedLength) {
    throw sizeMismatch(what, expectedLength, `Content-Length ${length.slice(0, 20)}`);
  }
  return isPartial ? 0 : offset;
}

function sizeMismatch(what: string, sizeBytes: number, found: string): RegistryError {
  return new RegistryError(
    'SIZE_MISMATCH',
    `${what}: expected ${sizeBytes} bytes, received ${found}`,
  );
}

function cutConnection(options: BlobPourOptions, offset: number, fault: unknown): RegistryError {
  const reason = connectionError(options, fault ?? new Error('the body ended early'));
  return new RegistryError(
    reason.code === 'TIMED_OUT' ? 'TIMED_OUT' : 'UNAVAILABLE',
    `${options.what}: the connection to ${options.url.host} broke ${MAX_FRUITLESS_CONNECTIONS} times at byte ${offset} of ${options.sizeBytes}`,
    { cause: fault },
  );
}
