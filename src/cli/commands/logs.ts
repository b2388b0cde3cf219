import { parseTimestamp } from '../../container/log-entry.js';
import { InvalidArgumentError } from '../../errors.js';
import { type CommandContext, withEngine } from '../context.js';
import { LogPrinter } from '../log-printer.js';

export interface LogsOptions {
  readonly pod: string;
  readonly namespace: string;
  readonly container?: string;
  readonly follow?: boolean;
  readonly tail?: number;
  readonly since?: string;
  readonly timestamps?: boolean;
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** `cais logs`: prints what the containers of a pod wrote. */
export function logs(context: CommandContext, options: LogsOptions): Promise<void> {
  const { pod, namespace, container, follow = false, tail, since, timestamps = false } = options;
  const sinceNanos = since === undefined ? undefined : parseSince(since, Date.now());
  return withEngine(context, async (engine) => {
    const names = engine.pods.get(pod, namespace).containers.map(({ name }) => name);
    const { stdout, stderr, signal } = context;
    const isOne = container !== undefined || names.length === 1;
    const printer = new LogPrinter({ stdout, stderr, timestamps, containers: isOne ? [] : names });
    const entries = engine.pods.logs(pod, {
      namespace,
      follow,
      signal,
      ...(container === undefined ? {} : { container }),
      ...(tail === undefined ? {} : { tailLines: tail }),
      ...(sinceNanos === undefined ? {} : { sinceNanos }),
    });
    for await (const entry of entries) await printer.print(entry);
  });
}

/**
 * A point in time: an RFC 3339 time, or a duration before now such as `90s` or `1h30m`.
 * @throws InvalidArgumentError
 */
export function parseSince(text: string, nowMs: number): bigint {
  const time = parseTimestamp(text);
  if (time !== undefined) return time;
  if (!/^([0-9]{1,9}[smhd])+$/.test(text)) {
    throw new InvalidArgumentError(
      `Option --since: expected a duration such as "90s", "5m", "1h30m", or an RFC 3339 time, received ${JSON.stringify(text)}`,
    );
  }
  const seconds = [...text.matchAll(/([0-9]+)([smhd])/g)].reduce(
    (sum, [, amount, unit]) => sum + Number(amount) * (UNIT_SECONDS[unit ?? ''] ?? 0),
    0,
  );
  return BigInt(nowMs - seconds * 1000) * 1_000_000n;
}
