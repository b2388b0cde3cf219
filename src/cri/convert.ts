import { InvalidArgumentError } from '../errors.js';

/**
 * A 64-bit number of a message as a number.
 * @throws InvalidArgumentError when it is too large to be exact.
 */
export function toNumber(value: bigint, what: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) {
    throw new InvalidArgumentError(`Field "${what}": ${value} is out of range`);
  }
  return number;
}

/** A count or size as a field that may be absent. */
export function uint64(value: number | undefined): { value: bigint } | undefined {
  if (value === undefined || !Number.isFinite(value)) return undefined;
  return { value: BigInt(Math.max(0, Math.trunc(value))) };
}

/** A time of the records, digits of nanoseconds, as a field; absent: 0, which means not yet. */
export function nanos(time: string | bigint | undefined): bigint {
  return BigInt(time ?? 0);
}

/** Now, in nanoseconds since 1970. */
export function nowNanos(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}

/** Undefined for what a message leaves out: in proto3 an absent text and an empty one are the same. */
export function present(text: string): string | undefined {
  return text === '' ? undefined : text;
}

/** Whether every label of a selector is there with its value. */
export function hasLabels(
  labels: Readonly<Record<string, string>>,
  selector: Readonly<Record<string, string>> | undefined,
): boolean {
  return Object.entries(selector ?? {}).every(
    ([name, value]) => Object.hasOwn(labels, name) && labels[name] === value,
  );
}
