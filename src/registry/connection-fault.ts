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
