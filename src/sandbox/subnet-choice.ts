import { FailedPreconditionError } from '../errors.js';
import type { NetworkLink } from '../native-network.js';
import { formatSubnet, type Ipv4Subnet, overlaps, parseSubnet } from './ipv4.js';

/** Where subnets are taken from when the configuration names none, and how large they are: 4,093 pods each, 128 of them. */
const POOL = parseSubnet('10.88.0.0/13');
const PREFIX_LENGTH = 20;
const BLOCK_SIZE = 2 ** (32 - PREFIX_LENGTH);

/**
 * The first block of the pool that overlaps nothing in `taken`.
 * @throws FailedPreconditionError when there is none.
 */
export function chooseSubnet(taken: readonly Ipv4Subnet[]): Ipv4Subnet {
  const end = POOL.first + 2 ** (32 - POOL.prefixLength);
  for (let first = POOL.first; first < end; first += BLOCK_SIZE) {
    const subnet = { first, prefixLength: PREFIX_LENGTH };
    if (!taken.some((other) => overlaps(subnet, other))) return subnet;
  }
  throw new FailedPreconditionError(
    `Every subnet of ${formatSubnet(POOL)} overlaps an address or route of this machine: set "network.subnet" in the configuration`,
  );
}

/** IPv4 networks that the machine's links have, those of the bridge `except` left out. */
export function linkSubnets(links: readonly NetworkLink[], except: string): Ipv4Subnet[] {
  return links
    .filter((link) => link.name !== except)
    .flatMap((link) => link.addresses)
    .filter((address) => !address.includes(':'))
    .map(parseSubnet);
}

/**
 * Destinations of the machine's IPv4 routes, from the text of /proc/net/route: numbers in hexadecimal and in the byte order of the machine,
 * which is little-endian wherever cais runs. The default route, and what goes to the bridge `except`, are left out.
 */
export function routeSubnets(table: string, except: string): Ipv4Subnet[] {
  const subnets: Ipv4Subnet[] = [];
  for (const line of table.split('\n').slice(1)) {
    const [link, destination, , , , , , mask] = line.trim().split(/\s+/);
    if (link === except || destination === undefined || mask === undefined) continue;
    const prefixLength = swapBytes(mask).toString(2).replace(/0/g, '').length;
    if (prefixLength > 0) subnets.push({ first: swapBytes(destination), prefixLength });
  }
  return subnets;
}

function swapBytes(hex: string): number {
  return Buffer.from(hex.padStart(8, '0'), 'hex').readUInt32LE(0);
}
