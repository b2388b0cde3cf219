import { describeError } from './errors.js';

/** The least that is logged. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export const LOG_LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

/** Writes one line for each event: what happened in words, the rest in fields. Fields never hold a secret; names of fields that could are blotted out. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  /** Writes what is still in memory; for the end of the process. */
  flush(): void;
}

export interface LogOptions {
  readonly level: LogLevel;
  /** Where the lines go; the caller's. By default standard error, which systemd gives to the journal. */
  readonly fd?: number;
}

/** Fields that are never written, wherever they stand in an object of a few levels. */
const SECRET_FIELDS = [
  'password',
  'auth',
  'identityToken',
  'registryToken',
  'authorization',
  'token',
  'secret',
];

/**
 * Opens a log of JSON lines: `{"level":"info","time":"2026-01-02T03:04:05.678Z","pid":1,"message":"…"}` and the fields. An Error in the field `error` becomes its
 * text with all causes, its code and its stack. pino is loaded here: only `cais serve` needs it.
 */
export async function openLog({ level, fd = 2 }: LogOptions): Promise<Log> {
  const { pino } = await import('pino');
  const destination = pino.destination({ fd, sync: true });
  // Nobody reads any more: no reason to stop serving.
  destination.on('error', () => undefined);
  const logger = pino(
    {
      level,
      base: { pid: process.pid },
      messageKey: 'message',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: errorFields },
      redact: {
        paths: SECRET_FIELDS.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]),
        censor: '[secret]',
      },
    },
    destination,
  );
  return {
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
    flush: () => {
      try {
        destination.flushSync();
      } catch {
        // As above.
      }
    },
  };
}

function errorFields(error: unknown): unknown {
  if (!(error instanceof Error)) return describeError(error);
  const { code } = error as { code?: unknown };
  return {
    message: describeError(error),
    ...(code === undefined ? {} : { code }),
    stack: error.stack,
  };
}
