import { RuntimeError } from '../../errors.js';

/** Fields of a {@link CniError}. */
export interface CniErrorFields {
  readonly plugin: string;
  readonly command: string;
  /** The plugin's own code; absent when it gave none, or not even ran. */
  readonly cniCode?: number;
  /** The plugin's longer text. */
  readonly details?: string;
  readonly cause?: unknown;
}

/** A network plugin failed (`CNI_FAILED`). @see CNI specification 1.1, section 5, "Error" */
export class CniError extends RuntimeError {
  readonly plugin: string;
  readonly command: string;
  readonly cniCode: number | undefined;
  readonly details: string | undefined;

  constructor(message: string, fields: CniErrorFields) {
    const { cause, ...rest } = fields;
    super('CNI_FAILED', message, { cause });
    this.plugin = rest.plugin;
    this.command = rest.command;
    this.cniCode = rest.cniCode;
    this.details = rest.details;
  }
}

const MEANINGS: Readonly<Record<number, string>> = {
  1: 'incompatible version',
  2: 'unsupported field',
  3: 'unknown container',
  4: 'invalid environment',
  5: 'input or output failed',
  6: 'cannot decode',
  7: 'invalid configuration',
  11: 'try again later',
  50: 'not available',
  51: 'not available, existing pods may have no network',
};

/** Longest text of a plugin that becomes part of a message. */
const MAX_TEXT = 2_000;

/** The error in what a failed plugin wrote: its JSON, or else its last words. */
export function pluginError(
  { plugin, command }: { readonly plugin: string; readonly command: string },
  {
    stdout,
    stderr,
    how,
  }: { readonly stdout: string; readonly stderr: string; readonly how: string },
): CniError {
  const said = parseError(stdout);
  if (said !== undefined) {
    const { code, msg, details } = said;
    const meaning = MEANINGS[code] === undefined ? '' : `, ${MEANINGS[code]}`;
    const text = [msg, details].filter((part) => part !== '').join('; ');
    return new CniError(
      `Network plugin "${plugin}" failed to ${command}: ${text} (code ${code}${meaning})`,
      {
        plugin,
        command,
        cniCode: code,
        details,
      },
    );
  }
  const words = (stderr.trim() || stdout.trim()).slice(-MAX_TEXT);
  return new CniError(
    `Network plugin "${plugin}" failed to ${command}: ${how}${words === '' ? '' : `: ${words}`}`,
    { plugin, command },
  );
}

function parseError(
  text: string,
): { readonly code: number; readonly msg: string; readonly details: string } | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { code, msg, details } = value as Record<string, unknown>;
  if (typeof code !== 'number' || typeof msg !== 'string') return undefined;
  return {
    code,
    msg: msg.slice(0, MAX_TEXT),
    details: typeof details === 'string' ? details.slice(0, MAX_TEXT) : '',
  };
}
