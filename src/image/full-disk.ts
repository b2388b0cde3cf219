import { RuntimeError } from '../errors.js';

const PROBLEMS: Readonly<Record<string, string>> = {
  ENOSPC: 'No space left on device',
  EDQUOT: 'Disk quota exceeded',
};

/**
 * The error for a failed write to a file: of a full disk with its code and the path, of which node says nothing; any other one as it is.
 * @see write(2), Errors
 */
export function nameFullDisk(error: unknown, path: string): unknown {
  const code = String((error as { code?: unknown } | null)?.code);
  const problem = PROBLEMS[code];
  if (problem === undefined || error instanceof RuntimeError) return error;
  return new RuntimeError(code, `Cannot write "${path}": ${problem}`, { cause: error });
}
