import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { describeError } from '../errors.js';

/**
 * Error codes of cais and the gRPC status that a client of the socket sees. What is not listed is `UNKNOWN` when it is an error of ours, and
 * `INTERNAL` when it is none: a programming mistake.
 *
 * | status | what a kubelet makes of it |
 * |---|---|
 * | NOT_FOUND | the thing is gone: it looks again, or makes another one |
 * | DEADLINE_EXCEEDED | of ExecSync: the probe has failed, and not "could not be run" |
 * | UNIMPLEMENTED | it asks in the older way, or never again |
 */
export const STATUS_BY_CODE: Readonly<Record<string, status>> = {
  INVALID_ARGUMENT: status.INVALID_ARGUMENT,
  NOT_FOUND: status.NOT_FOUND,
  ALREADY_EXISTS: status.ALREADY_EXISTS,
  FAILED_PRECONDITION: status.FAILED_PRECONDITION,
  TIMED_OUT: status.DEADLINE_EXCEEDED,
  UNSUPPORTED: status.UNIMPLEMENTED,
  LIMIT_EXCEEDED: status.RESOURCE_EXHAUSTED,
  RESOURCE_EXHAUSTED: status.RESOURCE_EXHAUSTED,
  TOO_MANY_REQUESTS: status.RESOURCE_EXHAUSTED,
  ENOSPC: status.RESOURCE_EXHAUSTED,
  UNAUTHORIZED: status.UNAUTHENTICATED,
  DENIED: status.PERMISSION_DENIED,
  UNAVAILABLE: status.UNAVAILABLE,
  SUPERVISOR_GONE: status.UNAVAILABLE,
  BAD_MANIFEST: status.DATA_LOSS,
  BAD_RESPONSE: status.DATA_LOSS,
  BAD_TAR: status.DATA_LOSS,
  DIGEST_MISMATCH: status.DATA_LOSS,
  SIZE_MISMATCH: status.DATA_LOSS,
  EVENTS_LOST: status.DATA_LOSS,
  START_FAILED: status.UNKNOWN,
};

/** Text of a status; longer ones do not fit into the trailers of every client. */
const DETAILS_MAX_LENGTH = 4096;

/** The status of any thrown value, with its text and causes for a person. */
export function toServiceError(error: unknown): ServiceError {
  const details = describeError(error).slice(0, DETAILS_MAX_LENGTH);
  const code = statusOf(error);
  return Object.assign(new Error(`${status[code]}: ${details}`), {
    code,
    details,
    metadata: new Metadata(),
  });
}

function statusOf(error: unknown): status {
  // Undoing failed too; what went wrong first is what the caller has to know.
  if (error instanceof AggregateError && error.cause !== undefined) return statusOf(error.cause);
  if (!(error instanceof Error)) return status.INTERNAL;
  if (error.name === 'AbortError') return status.CANCELLED;
  if (error.name === 'TimeoutError') return status.DEADLINE_EXCEEDED;
  const { code } = error as { readonly code?: unknown };
  if (typeof code !== 'string') return status.INTERNAL;
  return Object.hasOwn(STATUS_BY_CODE, code)
    ? (STATUS_BY_CODE[code] ?? status.UNKNOWN)
    : status.UNKNOWN;
}
