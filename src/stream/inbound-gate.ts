/** A stream behind the gate. */
export interface GatedStream {
  /** What has come and was not read yet. */
  readonly waitingBytes: number;
  readonly destroyed: boolean;
}

/**
 * Says when a connection must not be read any further, because what has come for its streams is not being taken. A stream is
 * allowed a buffer of its own, so that one that is slow does not stop the others at once; but neither SPDY as Kubernetes speaks
 * it nor WebSocket has windows, so in the end the whole connection waits.
 */
export class InboundGate {
  readonly #streamBytes: number;
  readonly #totalBytes: number;
  #bufferedBytes = 0;
  #held: { readonly stream: GatedStream; readonly open: () => void } | undefined;

  constructor(limits: {
    readonly streamBufferBytes: number;
    readonly connectionBufferBytes: number;
  }) {
    this.#streamBytes = limits.streamBufferBytes;
    this.#totalBytes = limits.connectionBufferBytes;
  }

  /** Whether the gate is closed. */
  get isHeld(): boolean {
    return this.#held !== undefined;
  }

  /** To be asked after each delivery to `stream`: undefined if reading goes on, else a promise for the time when it does. */
  hold(stream: GatedStream): Promise<void> | undefined {
    if (stream.waitingBytes < this.#streamBytes && this.#bufferedBytes < this.#totalBytes) {
      return undefined;
    }
    return new Promise((open) => {
      this.#held?.open();
      this.#held = { stream, open };
    });
  }

  /** What waits has grown, or with a negative `deltaBytes` shrunk. */
  account(deltaBytes: number): void {
    this.#bufferedBytes += deltaBytes;
    const held = this.#held;
    if (held === undefined || deltaBytes >= 0) return;
    // Half of a stream's buffer must be free, so that a slow reader does not switch the connection on and off for each piece.
    const hasRoom = held.stream.destroyed || held.stream.waitingBytes <= this.#streamBytes / 2;
    if (hasRoom && this.#bufferedBytes < this.#totalBytes) this.release();
  }

  /** Opens the gate, whatever waits. */
  release(): void {
    const held = this.#held;
    this.#held = undefined;
    held?.open();
  }
}
