import type { Failed } from './supervisor-answers.js';

/** Errors of a runtime that say that the program to run is at fault, in the words of runc, crun and runsc. */
const PROGRAM_ERRORS: readonly { readonly pattern: RegExp; readonly errno: number }[] = [
  {
    pattern: /exec: "([^"]+)": (?:executable file not found|stat .*no such file|no such file)/,
    errno: 2,
  },
  { pattern: /executable file `([^`]+)` not found/, errno: 2 },
  { pattern: /error finding executable "([^"]+)"/, errno: 2 },
  { pattern: /exec: "([^"]+)": permission denied/, errno: 13 },
  { pattern: /exec(?:ve)? "?([^"\s]+)"?: exec format error/i, errno: 8 },
];

const MAX_MESSAGE = 2000;

/**
 * Makes a FAILED of the step `runtime`, which carries what an OCI runtime wrote to its log, into one that a person understands; where the program
 * was at fault it becomes the same `exec` failure as in a container that the supervisor makes.
 */
export function explainRuntimeFailure(failed: Failed): Failed {
  if (failed.step !== 'runtime' || failed.errno !== 0) return failed;
  const message = lastError(failed.message);
  for (const { pattern, errno } of PROGRAM_ERRORS) {
    const program = pattern.exec(message)?.[1];
    if (program !== undefined) return { step: 'exec', errno, path: program, message };
  }
  return { ...failed, path: '', message: `${JSON.stringify(failed.path)} says: ${message}` };
}

/** The last error in a log of JSON lines; what is not JSON counts as a message, since not all that a runtime writes goes through its log. */
function lastError(text: string): string {
  const entries = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map(readEntry);
  const errors = entries.filter(({ level }) => level === 'error' || level === 'fatal');
  const last = errors.at(-1) ?? entries.at(-1);
  return (last?.message ?? 'nothing').slice(0, MAX_MESSAGE);
}

function readEntry(line: string): { readonly level: string; readonly message: string } {
  try {
    const entry: unknown = JSON.parse(line);
    if (typeof entry === 'object' && entry !== null) {
      const { level, msg } = entry as { readonly level?: unknown; readonly msg?: unknown };
      if (typeof msg === 'string') return { level: String(level), message: msg };
    }
  } catch {
    // Plain text, or a line cut off at its beginning.
  }
  return { level: '', message: line };
}
