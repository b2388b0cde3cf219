/** Takes the bytes of a blob as they come. Whoever pours into it stops while it is full, so that a slow disk slows the network. */
export interface BlobSink {
  /**
   * Takes a piece, which is valid during the call only: its memory is used again. False: full, wait for {@link drained} before the next piece.
   * What it throws ends the pouring.
   */
  write(chunk: Uint8Array): boolean;
  /** Settles when there is room again after a `write` that returned false; rejects when nothing more is wanted. */
  drained(): Promise<void>;
}
