import { isAbsolute } from 'node:path';
import { inspect } from 'node:util';
import { InvalidArgumentError } from './errors.js';

/** A setting is unknown or has a wrong value (`INVALID_ARGUMENT`). */
export class ConfigError extends InvalidArgumentError {
  /** Where the setting is: `['limits', 'layerEntries']`. */
  readonly keyPath: readonly string[];

  constructor(keyPath: readonly string[], problem: string) {
    super(`Configuration key ${JSON.stringify(keyPath.join('.').slice(0, 200))}: ${problem}`);
    this.keyPath = keyPath;
  }
}

/** Throws a {@link ConfigError} when `value` is not what the key at `keyPath` takes. */
export type Check = (value: unknown, keyPath: readonly string[]) => void;

/** A check by a condition, with the words for what is expected. */
export function expects(expected: string, accepts: (value: unknown) => boolean): Check {
  return (value, keyPath) => {
    if (accepts(value)) return;
    const received = inspect(value, { breakLength: Number.POSITIVE_INFINITY }).slice(0, 200);
    throw new ConfigError(keyPath, `expected ${expected}, received ${received}`);
  };
}

const isText = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && !value.includes('\0');

export const text = expects('a text', isText);
export const path = text;
export const absolutePath = expects(
  'an absolute path',
  (value) => isText(value) && isAbsolute(value),
);
export const texts = expects(
  'a list of texts',
  (value) => Array.isArray(value) && value.every(isText),
);
export const count = expects(
  'a whole number, not negative',
  (value) => Number.isSafeInteger(value) && (value as number) >= 0,
);
/** `127.0.0.1:9090`, `[::1]:0`, `localhost:0`. */
export const address = expects(
  'an address with a port, such as "127.0.0.1:9090"',
  (value) => isText(value) && parseAddress(value) !== undefined,
);

export function oneOf(...values: readonly string[]): Check {
  const listed = values.map((value) => JSON.stringify(value)).join(', ');
  return expects(`one of ${listed}`, (value) => values.includes(value as string));
}

/** Names and what belongs to them, whatever that is. */
export const map = expects(
  'a map',
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
);

/** An object of these keys; each may be absent. */
export function objectOf(checks: Readonly<Record<string, Check>>): Check {
  return (value, keyPath) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      expects('a map', () => false)(value, keyPath);
    }
    for (const [key, member] of Object.entries(value as object)) {
      const check = Object.hasOwn(checks, key) ? checks[key] : undefined;
      if (check === undefined) {
        const known = Object.keys(checks).join(', ');
        throw new ConfigError([...keyPath, key], `no such key; known here: ${known}`);
      }
      check(member, [...keyPath, key]);
    }
  };
}

/** Splits `host:port`; the host of IPv6 stands in brackets. Undefined when it is something else. */
export function parseAddress(
  value: string,
): { readonly host: string; readonly port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]/\s]+)):([0-9]{1,5})$/.exec(value);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) return undefined;
  return { host: match[1] ?? match[2] ?? '', port };
}
