import { describeError, StartError } from '../errors.js';

/** How a session ended: with the exit code of its process, or because of an error. */
export type SessionOutcome =
  | { readonly exitCode: number }
  | { readonly error: unknown; readonly doing: 'executing command in' | 'attaching to' };

/** From which side an outcome is told: as text, empty for success, or since version 4 as a `Status` object of Kubernetes. */
export type StatusForm = 'text' | 'json';

/** The text goes into one message of the error channel. */
const MAX_MESSAGE_CHARACTERS = 8192;

/** What the error stream says at the end of a session. */
export function encodeOutcome(outcome: SessionOutcome, form: StatusForm): string {
  if ('exitCode' in outcome && outcome.exitCode === 0) {
    return form === 'text' ? '' : JSON.stringify({ metadata: {}, status: 'Success' });
  }
  const failure = 'exitCode' in outcome ? describeExit(outcome.exitCode) : describeFailure(outcome);
  return form === 'text'
    ? failure.message
    : JSON.stringify({ metadata: {}, status: 'Failure', ...failure });
}

interface Failure {
  readonly reason: string;
  readonly message: string;
  readonly code?: number;
  readonly details?: { readonly causes: readonly { reason: string; message: string }[] };
}

function describeExit(exitCode: number): Failure {
  return {
    reason: 'NonZeroExitCode',
    message: `command terminated with non-zero exit code: ${exitCode}`,
    details: exitCodeCause(exitCode),
  };
}

function describeFailure({ error, doing }: Extract<SessionOutcome, { error: unknown }>): Failure {
  const why = describeError(error).slice(0, MAX_MESSAGE_CHARACTERS);
  const exitCode = exitCodeOfStart(error);
  return {
    reason: 'InternalError',
    message: `Internal error occurred: error ${doing} container: ${why}`,
    code: 500,
    // Clients show the message of this reason; those who want the number a shell would give find it too.
    ...(exitCode === undefined ? {} : { details: exitCodeCause(exitCode) }),
  };
}

function exitCodeCause(exitCode: number) {
  return { causes: [{ reason: 'ExitCode', message: String(exitCode) }] };
}

/** As shells say it: 127 for a program that is not there, 126 for one that cannot be run. */
function exitCodeOfStart(error: unknown): number | undefined {
  if (!(error instanceof StartError) || error.step !== 'exec') return undefined;
  return error.errnoCode === 'ENOENT' ? 127 : 126;
}
