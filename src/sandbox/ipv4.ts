import { isIPv4 } from 'node:net';
import { InvalidArgumentError } from '../errors.js';

/** An IPv4 network: its first address as a number, and the length of its prefix. */
export interface Ipv4Subnet {
  readonly first: number;
  readonly prefixLength: number;
}

/** Number of addresses, the first (network) and last (broadcast) among them. */
export function subnetSize({ prefixLength }: Ipv4Subnet): number {
  return 2 ** (32 - prefixLength);
}

export function parseAddress(text: string): number {
  if (!isIPv4(text)) throw new InvalidArgumentError(`"${text}" is not an IPv4 address`);
  return text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}

export function formatAddress(address: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.');
}

/** The network in which `10.88.3.4/20` lies. @throws InvalidArgumentError */
export function parseSubnet(text: string): Ipv4Subnet {
  const match = /^([^/]+)\/(\d{1,2})$/.exec(text);
  const prefixLength = Number(match?.[2]);
  if (match === null || prefixLength > 32) {
    throw new InvalidArgumentError(
      `"${text}" is not an IPv4 network, expected one like "10.88.0.0/20"`,
    );
  }
  const size = 2 ** (32 - prefixLength);
  const address = parseAddress(match[1] as string);
  return { first: address - (address % size), prefixLength };
}

export function formatSubnet({ first, prefixLength }: Ipv4Subnet): string {
  return `${formatAddress(first)}/${prefixLength}`;
}

export function overlaps(a: Ipv4Subnet, b: Ipv4Subnet): boolean {
  return a.first < b.first + subnetSize(b) && b.first < a.first + subnetSize(a);
}
