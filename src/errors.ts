/** Optional parts of a {@link RuntimeError}. */
export interface RuntimeErrorOptions {
  readonly cause?: unknown;
}

/**
 * Base of every error that cais throws on purpose. Callers test `code`, never `message`.
 * Codes are stable; each is documented at the subclass or the function that throws it.
 */
export class RuntimeError extends Error {
  /** Stable word naming the failure, for example `NOT_FOUND`. */
  readonly code: string;

  constructor(code: string, message: string, options: RuntimeErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
  }
}

/** The caller gave something that can never work (`INVALID_ARGUMENT`). */
export class InvalidArgumentError extends RuntimeError {
  constructor(message: string, options?: RuntimeErrorOptions) {
    super('INVALID_ARGUMENT', message, options);
  }
}

/** Something named by the caller does not exist (`NOT_FOUND`). */
export class NotFoundError extends RuntimeError {
  constructor(message: string, options?: RuntimeErrorOptions) {
    super('NOT_FOUND', message, options);
  }
}

/** A name or id is taken (`ALREADY_EXISTS`). */
export class AlreadyExistsError extends RuntimeError {
  constructor(message: string, options?: RuntimeErrorOptions) {
    super('ALREADY_EXISTS', message, options);
  }
}

/** The object's state does not allow the operation now (`FAILED_PRECONDITION`). */
export class FailedPreconditionError extends RuntimeError {
  constructor(message: string, options?: RuntimeErrorOptions) {
    super('FAILED_PRECONDITION', message, options);
  }
}

/** A deadline passed (`TIMED_OUT`). */
export class TimedOutError extends RuntimeError {
  constructor(message: string, options?: RuntimeErrorOptions) {
    super('TIMED_OUT', message, options);
  }
}

/** The machine cannot do what is asked: kernel, privilege, cgroup set-up (`UNSUPPORTED`). */
export class UnsupportedError extends RuntimeError {
  constructor(message: string, options?: RuntimeErrorOptions) {
    super('UNSUPPORTED', message, options);
  }
}

/** Too much of this is under way already; the same call works later (`RESOURCE_EXHAUSTED`). */
export class ResourceExhaustedError extends RuntimeError {
  /** When a new attempt makes sense, where that is known. */
  readonly retryAfterSeconds: number | undefined;

  constructor(
    message: string,
    options: RuntimeErrorOptions & { readonly retryAfterSeconds?: number } = {},
  ) {
    super('RESOURCE_EXHAUSTED', message, options);
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** Fields of a {@link NativeError}; C++ fills them. */
export interface NativeErrorFields extends RuntimeErrorOptions {
  readonly code: string;
  readonly message: string;
  readonly errnoCode?: string;
  readonly errno?: number;
  readonly syscall?: string;
  readonly path?: string;
}

/**
 * A failed system call or native check. `code` is the errno name (`ENOSPC`, `EBUSY`, …) or one of the words
 * listed at the function in `native.ts` (`DIGEST_MISMATCH`, `BAD_TAR`, …).
 */
export class NativeError extends RuntimeError {
  /** Name of the errno value, absent where the failure is a check of ours. */
  readonly errnoCode: string | undefined;
  /** The errno value itself, positive. */
  readonly errno: number | undefined;
  /** The system call or step that failed. */
  readonly syscall: string | undefined;
  readonly path: string | undefined;

  constructor(fields: NativeErrorFields) {
    super(fields.code, fields.message, fields);
    this.errnoCode = fields.errnoCode;
    this.errno = fields.errno;
    this.syscall = fields.syscall;
    this.path = fields.path;
  }
}

/**
 * A container could not be made or started: which step of `container_init` failed, why and on what.
 * `code` is `START_FAILED`.
 */
export class StartError extends RuntimeError {
  /** Step of container_init, for example `exec`, `mount`, `setuid`. */
  readonly step: string;
  /** Name of the errno value, for example `ENOENT`. */
  readonly errnoCode: string;
  readonly path: string;

  constructor(
    message: string,
    fields: { readonly step: string; readonly errnoCode: string; readonly path: string },
    options?: RuntimeErrorOptions,
  ) {
    super('START_FAILED', message, options);
    this.step = fields.step;
    this.errnoCode = fields.errnoCode;
    this.path = fields.path;
  }

  /** What a shell would answer: 127 for a program that is not there, 126 for one that cannot be run; absent for every other failure. */
  get exitCode(): 126 | 127 | undefined {
    if (this.step === 'exec') {
      return this.errnoCode === 'ENOENT' || this.errnoCode === 'ENOTDIR' ? 127 : 126;
    }
    return this.step === 'cwd' || this.step === 'user' ? 126 : undefined;
  }
}

/** Error text of any thrown value, with its chain of causes, for a person: `a: b: c`. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : describeError(error.cause);
  return cause === '' || error.message.includes(cause)
    ? error.message
    : `${error.message}: ${cause}`;
}
