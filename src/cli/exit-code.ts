import { RuntimeError, StartError } from '../errors.js';

/** Exit codes that say something of their own. Every other failure is 1. */
const EXIT_CODES: Readonly<Record<string, number>> = {
  INVALID_ARGUMENT: 2,
  INVALID_MANIFEST: 2,
  INVALID_OBJECT: 2,
  UNSUPPORTED: 3,
};

const COMMAND_NOT_FOUND = 127;
const COMMAND_NOT_RUNNABLE = 126;

/**
 * Exit code for a failure: 2 for what the caller wrote, 3 for a machine that cannot do it, 127 and 126 as a shell has them for a
 * program in a container that is not there or cannot be run, otherwise 1.
 */
export function exitCodeOf(error: unknown): number {
  if (error instanceof StartError) {
    return error.errnoCode === 'ENOENT' ? COMMAND_NOT_FOUND : COMMAND_NOT_RUNNABLE;
  }
  return error instanceof RuntimeError ? (EXIT_CODES[error.code] ?? 1) : 1;
}
