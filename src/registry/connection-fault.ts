/** A connection did not do what it should. Codes: `ECONNRESET` (closed too early), `ETIMEDOUT` (a deadline passed), `ECONNABORTED` (closed by us), `EINVAL` (a header that HTTP does not allow). */
export class ConnectionFault extends Error {
  readonly code: 'ECONNRESET' | 'ETIMEDOUT' | 'ECONNABORTED' | 'EINVAL';

  constructor(code: ConnectionFault['code'], message: string) {
    super(message);
    this.name = new.target.name;
    this.code = code;
  }
}

/** No byte of a body came for so long. */
export function idleFault(timeoutMs: number): ConnectionFault {
  return new ConnectionFault('ETIMEDOUT', `no byte of the body for ${timeoutMs / 1000} s`);
}

/** Of a connection that was there and broke, where another may hold. */
export function isBrokenConnection(error: unknown): boolean {
  return ['ECONNRESET', 'EPIPE'].includes(String((error as { code?: unknown } | null)?.code));
}

/** How long a connection is kept that nobody uses. Less than servers wait (nginx 75 s, node 5 s), so that few are closed just when they are asked again. */
export const IDLE_CONNECTION_MS = 4_000;
