/** Takes the bytes of a blob as they come. Whoever pours into it stops while it is full, so that a slow disk slows the network. */
export interface BlobSink {
  /**
   * Takes a piece, which is valid during the call only: its memory is used again. False: full, wait for {@link drained} before the next piece.
   * What it throws ends the pouring.
   */
  write(chunk: Uint8Array): boolean;
  /** Settles when there is room again after a `write` that returned false; rejects when nothing more is wanted. */
  drained(): Promise<void>;
  /**
   * Reads the next bytes from a connection by itself, at its own pace; absent: it cannot. Nobody else reads the connection or calls the sink before it
   * settles. Rejects when nothing more is wanted.
   */
  readonly receive?: ((connection: PlainConnection) => Promise<Reception>) | undefined;
}

/** A connection without encryption whose next bytes are those of a blob. */
export interface PlainConnection {
  /** Stays the caller's, who may close it at any time. */
  readonly fd: number;
  /** How many to read, at least one. */
  readonly bytes: number;
  /** Longest wait for the next byte. */
  readonly idleTimeoutMs: number;
}

export interface Reception {
  readonly bytes: number;
  /** Why there are fewer bytes than asked for: the connection was closed by the other end, brought nothing for too long, or is broken with this error. */
  readonly fault: 'closed' | 'idle' | Error | undefined;
}

/** Counts what another sink takes. */
export class CountingSink implements BlobSink {
  bytes = 0;
  readonly receive: BlobSink['receive'];
  readonly #sink: BlobSink;

  constructor(sink: BlobSink) {
    this.#sink = sink;
    const { receive } = sink;
    this.receive = receive && ((connection) => this.#receive(receive, connection));
  }

  write(chunk: Uint8Array): boolean {
    this.bytes += chunk.byteLength;
    return this.#sink.write(chunk);
  }

  drained(): Promise<void> {
    return this.#sink.drained();
  }

  async #receive(
    receive: NonNullable<BlobSink['receive']>,
    connection: PlainConnection,
  ): Promise<Reception> {
    const reception = await receive(connection);
    this.bytes += reception.bytes;
    return reception;
  }
}
