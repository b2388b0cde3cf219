import { InvalidArgumentError } from '../errors.js';

/**
 * An amount of a resource, exact: a whole number of billionths (nanos), as Kubernetes keeps it.
 * @see k8s.io/apimachinery/pkg/api/resource, type Quantity
 */
export interface Quantity {
  readonly nanos: bigint;
}

const NANOS_PER_UNIT = 1_000_000_000n;
/** Longest accepted text; a quantity beyond 2^63 makes no sense on one machine. */
const MAX_LENGTH = 40;
const MAX_NANOS = 2n ** 63n * NANOS_PER_UNIT;

const SUFFIX_NANOS: Readonly<Record<string, bigint>> = {
  n: 1n,
  u: 1_000n,
  m: 1_000_000n,
  '': NANOS_PER_UNIT,
  k: 10n ** 12n,
  M: 10n ** 15n,
  G: 10n ** 18n,
  T: 10n ** 21n,
  P: 10n ** 24n,
  E: 10n ** 27n,
  Ki: NANOS_PER_UNIT * 2n ** 10n,
  Mi: NANOS_PER_UNIT * 2n ** 20n,
  Gi: NANOS_PER_UNIT * 2n ** 30n,
  Ti: NANOS_PER_UNIT * 2n ** 40n,
  Pi: NANOS_PER_UNIT * 2n ** 50n,
  Ei: NANOS_PER_UNIT * 2n ** 60n,
};

const QUANTITY = /^([+-]?)(\d+\.?\d*|\.\d+)(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,2}))?$/;

/**
 * Reads a quantity as Kubernetes does: `500m`, `1.5`, `128Mi`, `1e3`. What is finer than a billionth is rounded up.
 * @throws InvalidArgumentError for any other text, and for amounts of 2^63 and more.
 */
export function parseQuantity(text: string | number): Quantity {
  const source = String(text);
  const match = source.length <= MAX_LENGTH ? QUANTITY.exec(source) : null;
  const [, sign, digits, suffix, exponent] = match ?? [];
  if (digits === undefined) {
    throw new InvalidArgumentError(
      `Invalid quantity ${JSON.stringify(source.slice(0, MAX_LENGTH))}: expected a number with an optional suffix such as "m", "k", "Mi", "Gi"`,
    );
  }
  const [whole = '', fraction = ''] = digits.split('.');
  let numerator = BigInt(whole + fraction) * (SUFFIX_NANOS[suffix ?? ''] ?? NANOS_PER_UNIT);
  let denominator = 10n ** BigInt(fraction.length);
  const power = Number(exponent ?? 0);
  if (power >= 0) numerator *= 10n ** BigInt(power);
  else denominator *= 10n ** BigInt(-power);
  const nanos = ceilDivide(numerator, denominator);
  if (nanos >= MAX_NANOS) throw new InvalidArgumentError(`Invalid quantity "${source}": too large`);
  return { nanos: sign === '-' ? -nanos : nanos };
}

/** The amount in whole units (bytes, cores), rounded up. */
export function wholeUnits(quantity: Quantity): number {
  return Number(ceilDivide(quantity.nanos, NANOS_PER_UNIT));
}

/** The amount in thousandths (millicores), rounded up. */
export function milliUnits(quantity: Quantity): number {
  return Number(ceilDivide(quantity.nanos, 1_000_000n));
}

/** How many `divisor`s the amount is, rounded up: what a resourceFieldRef yields. */
export function divideQuantity(quantity: Quantity, divisor: Quantity): bigint {
  return ceilDivide(quantity.nanos, divisor.nanos);
}

function ceilDivide(numerator: bigint, denominator: bigint): bigint {
  const quotient = numerator / denominator;
  return numerator % denominator > 0n ? quotient + 1n : quotient;
}
