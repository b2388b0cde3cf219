import { InvalidArgumentError } from '../../errors.js';

const INGRESS = 'kubernetes.io/ingress-bandwidth';
const EGRESS = 'kubernetes.io/egress-bandwidth';
/** Bits each second between which Kubernetes takes such an annotation. */
const MIN_RATE = 1_000;
const MAX_RATE = 1e15;
/** Bits that may be sent at once: as much as the plugin can hold. */
const BURST = 2 ** 32 - 1;

const EXPONENTS: Readonly<Record<string, number>> = {
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** What the capability `bandwidth` takes: bits, and bits each second. */
export interface Bandwidth {
  readonly ingressRate?: number;
  readonly ingressBurst?: number;
  readonly egressRate?: number;
  readonly egressBurst?: number;
}

/**
 * The limits that a pod's annotations ask for; undefined when they ask for none.
 * @throws InvalidArgumentError for what is no quantity from 1k to 1P.
 */
export function bandwidthOf(
  annotations: Readonly<Record<string, string>> = {},
): Bandwidth | undefined {
  const ingress = rate(annotations, INGRESS);
  const egress = rate(annotations, EGRESS);
  if (ingress === undefined && egress === undefined) return undefined;
  return {
    ...(ingress === undefined ? {} : { ingressRate: ingress, ingressBurst: BURST }),
    ...(egress === undefined ? {} : { egressRate: egress, egressBurst: BURST }),
  };
}

function rate(annotations: Readonly<Record<string, string>>, name: string): number | undefined {
  const text = annotations[name];
  if (text === undefined) return undefined;
  const match = /^(\d+|\d+\.\d*|\.\d+)(?:([kMGTPE]i?|m|Ki|)|[eE]([+-]?\d{1,2}))$/.exec(text.trim());
  const [, number = '', suffix = '', exponent] = match ?? [];
  const factor = exponent === undefined ? EXPONENTS[suffix] : 10 ** Number(exponent);
  const bits =
    match === null || factor === undefined ? Number.NaN : Math.ceil(Number(number) * factor);
  if (!(bits >= MIN_RATE && bits <= MAX_RATE)) {
    throw new InvalidArgumentError(
      `Annotation "${name}" is ${JSON.stringify(text.slice(0, 100))}, expected bits per second from 1k to 1P`,
    );
  }
  return bits;
}
