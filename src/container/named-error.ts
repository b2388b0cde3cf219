import { describeError, RuntimeError, StartError } from '../errors.js';

/** The same failure, same code, with what was being done in front: `Cannot create container "web": user "x" is not in /etc/passwd`. */
export function namedError(what: string, error: unknown): unknown {
  if (!(error instanceof RuntimeError) || error instanceof StartError) return error;
  return new RuntimeError(error.code, `${what}: ${describeError(error)}`, { cause: error });
}
