import { RuntimeError, type RuntimeErrorOptions } from '../errors.js';

/**
 * Codes of a {@link RegistryError}:
 * `UNAUTHORIZED` (401), `DENIED` (403), `NOT_FOUND` (404), `TOO_MANY_REQUESTS` (429), `UNAVAILABLE` (no connection, cut connection, 5xx, after
 * the last retry), `TIMED_OUT` (no answer or no byte in time), `BAD_RESPONSE` (the answer breaks the protocol), `LIMIT_EXCEEDED` (a document or answer is too large),
 * `DIGEST_MISMATCH`, `SIZE_MISMATCH` (content is not what was asked for).
 */
export type RegistryErrorCode =
  | 'UNAUTHORIZED'
  | 'DENIED'
  | 'NOT_FOUND'
  | 'TOO_MANY_REQUESTS'
  | 'UNAVAILABLE'
  | 'TIMED_OUT'
  | 'BAD_RESPONSE'
  | 'LIMIT_EXCEEDED'
  | 'DIGEST_MISMATCH'
  | 'SIZE_MISMATCH';

export interface RegistryErrorFields extends RuntimeErrorOptions {
  /** HTTP status, when the registry answered. */
  readonly status?: number | undefined;
  /** The registry's own first error code, for example `MANIFEST_UNKNOWN`. */
  readonly registryCode?: string | undefined;
}

/** A registry could not or would not deliver. Never contains a credential, a token or a query string. */
export class RegistryError extends RuntimeError {
  declare readonly code: RegistryErrorCode;
  readonly status: number | undefined;
  readonly registryCode: string | undefined;

  constructor(code: RegistryErrorCode, message: string, fields: RegistryErrorFields = {}) {
    super(code, message, fields);
    this.status = fields.status;
    this.registryCode = fields.registryCode;
  }
}

/** Error bodies longer than this are not read further. */
export const MAX_ERROR_BODY_BYTES = 64 * 1024;

const MAX_MESSAGE_LENGTH = 400;

/** What the body of a refused request says: `{"errors":[{code, message}]}`, contract E19. */
export interface RegistryErrorBody {
  readonly code: string | undefined;
  /** For a person: bounded, one line, no control characters; empty when the body is of another form. */
  readonly text: string;
}

/** Reads an error body. Never throws; a body of another form (a proxy's HTML page) says nothing. */
export function parseErrorBody(body: string): RegistryErrorBody {
  let errors: unknown;
  try {
    errors = (JSON.parse(body) as { errors?: unknown } | null)?.errors;
  } catch {
    // Not JSON: nothing to show.
  }
  if (!Array.isArray(errors)) return { code: undefined, text: '' };
  const parts: string[] = [];
  let code: string | undefined;
  for (const error of errors.slice(0, 5) as unknown[]) {
    const fields = (typeof error === 'object' && error !== null ? error : {}) as Record<
      string,
      unknown
    >;
    const entryCode = typeof fields['code'] === 'string' ? oneLine(fields['code']) : undefined;
    code ??= entryCode;
    const message = typeof fields['message'] === 'string' ? oneLine(fields['message']) : '';
    const text = [entryCode, message].filter(Boolean).join(': ');
    if (text !== '') parts.push(text);
  }
  return { code, text: parts.join('; ').slice(0, MAX_MESSAGE_LENGTH) };
}

/** The error for a final status that is no success. `what` and `host` name the thing and the place. */
export function errorForStatus(
  status: number,
  {
    what,
    host,
    body,
  }: { readonly what: string; readonly host: string; readonly body: RegistryErrorBody },
): RegistryError {
  const said = body.text === '' ? '' : `: ${body.text}`;
  const answered = `${host} answered ${status}${said}`;
  const fields = { status, registryCode: body.code };
  switch (status) {
    case 401:
    case 403:
      return new RegistryError(
        status === 401 ? 'UNAUTHORIZED' : 'DENIED',
        `${what}: pull access denied, repository does not exist or may require authorization (${answered})`,
        fields,
      );
    case 404:
      return new RegistryError('NOT_FOUND', `${what}: not found (${answered})`, fields);
    case 429:
      return new RegistryError(
        'TOO_MANY_REQUESTS',
        `${what}: the registry limits the rate of requests, try again later or log in (${answered})`,
        fields,
      );
    default:
      return status >= 500
        ? new RegistryError(
            'UNAVAILABLE',
            `${what}: the registry is unavailable (${answered})`,
            fields,
          )
        : new RegistryError('BAD_RESPONSE', `${what}: unexpected answer (${answered})`, fields);
  }
}

function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not reach a terminal
  return text.slice(0, MAX_MESSAGE_LENGTH).replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ');
}
