import { isIP } from 'node:net';
import { RuntimeError } from '../../errors.js';
import type { PodAddress } from '../pod-network.js';

/** What an ADD gave, as the plugin wrote it: it goes on to the next plugin, and to CHECK and DEL. */
export type CniResult = Readonly<Record<string, unknown>>;

/** @throws RuntimeError `CNI_BAD_RESULT` when it is no JSON object. */
export function parseResult(text: string): CniResult {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw badResult(`not JSON: ${JSON.stringify(text.slice(0, 200))}`, cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw badResult('not a JSON object');
  }
  return value as CniResult;
}

/**
 * The pod's own addresses: those of interfaces inside the namespace, and those that name no interface. IPv4 comes first, otherwise the order is the
 * plugins'.
 * @throws RuntimeError `CNI_BAD_RESULT` when there is none, or something is none.
 */
export function podAddress(result: CniResult): PodAddress {
  const interfaces = list(result, 'interfaces');
  const ips = list(result, 'ips')
    .filter((entry) => isInside(interfaces, entry))
    .map(({ address }) => {
      const ip = typeof address === 'string' ? address.split('/')[0] : undefined;
      if (ip === undefined || isIP(ip) === 0) {
        throw badResult(`the address ${JSON.stringify(address)?.slice(0, 100)}`);
      }
      return ip;
    });
  const [ip, ...additionalIps] = [
    ...ips.filter((one) => isIP(one) === 4),
    ...ips.filter((one) => isIP(one) === 6),
  ];
  if (ip === undefined) throw badResult('no address for the pod');
  return { ip, additionalIps };
}

function isInside(
  interfaces: readonly Record<string, unknown>[],
  entry: Record<string, unknown>,
): boolean {
  const index = entry['interface'];
  if (typeof index !== 'number') return true;
  const sandbox = interfaces[index]?.['sandbox'];
  return typeof sandbox === 'string' && sandbox !== '';
}

function list(result: CniResult, key: string): Record<string, unknown>[] {
  const value = result[key] ?? [];
  const isList =
    Array.isArray(value) &&
    value.every((entry) => typeof entry === 'object' && entry !== null && !Array.isArray(entry));
  if (!isList) throw badResult(`"${key}" is no list of objects`);
  return value;
}

function badResult(what: string, cause?: unknown): RuntimeError {
  return new RuntimeError('CNI_BAD_RESULT', `The network plugins gave no usable result: ${what}`, {
    cause,
  });
}
