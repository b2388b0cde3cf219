import type { Readable, Writable } from 'node:stream';

/** The far ends of a process's streams, as a client of exec or attach sees them. Whoever gets them ends or destroys each one. */
export interface ProcessStreams {
  /** What the client types; its end is the end of the input. Absent: no input. */
  readonly stdin?: Readable;
  /** `write` answering false must slow the process down, never fill memory. With a terminal all output comes here. */
  readonly stdout?: Writable;
  /** Absent with a terminal. */
  readonly stderr?: Writable;
  /** Sizes of the client's terminal, the first one at once when it is known; ends with the client. */
  readonly sizes?: AsyncIterable<TerminalSize>;
  /** Fires when the client has gone away. */
  readonly signal: AbortSignal;
}

/** In characters. */
export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}
