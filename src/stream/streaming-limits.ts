/** What a streaming server grants its clients: times in milliseconds, sizes in bytes. */
export interface StreamingLimits {
  /** How long a URL may wait for its client. */
  readonly tokenLifetimeMs: number;
  /** How many URLs may wait at the same time. */
  readonly waitingTokens: number;
  /** From the upgrade to the last stream of a process, and from the first to the second stream of a forwarded connection. */
  readonly setupMs: number;
  /** A connection on which nothing has moved for so long is closed. */
  readonly idleMs: number;
  /** How long one direction of a forwarded connection may stay silent once the other has ended. */
  readonly forwardLingerMs: number;
  /** How long a client may take to close its end once everything has been said. */
  readonly goodbyeMs: number;
  /**
   * While nothing is read from a client, because the process does not take its input, a ping is sent so often: only a write tells
   * that the client is gone.
   */
  readonly probeMs: number;
  /** Input that may wait for one stream before the connection is read no further. */
  readonly streamBufferBytes: number;
  /** The same for all streams of one connection. */
  readonly connectionBufferBytes: number;
  /** SPDY streams that one connection may have open. */
  readonly openStreams: number;
}

/** Set by Kubernetes' own servers where they have a figure (contracts/streaming.md), else by us. */
export const DEFAULT_STREAMING_LIMITS: StreamingLimits = {
  tokenLifetimeMs: 60_000,
  waitingTokens: 1000,
  setupMs: 30_000,
  idleMs: 4 * 3_600_000,
  forwardLingerMs: 1000,
  goodbyeMs: 5000,
  probeMs: 30_000,
  streamBufferBytes: 1024 * 1024,
  connectionBufferBytes: 16 * 1024 * 1024,
  openStreams: 2048,
};
