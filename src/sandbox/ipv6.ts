import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';

/** Length of the prefix of every subnet that {@link uniqueLocalSubnet} makes. */
export const IPV6_PREFIX_LENGTH = 64;

/** A subnet that nobody else has: `fd12:3456:789a::/64` with 40 random bits, as the kernel writes it. @see RFC 4193, section 3.2; RFC 5952, section 4.2 */
export function uniqueLocalSubnet(random: Buffer = randomBytes(5)): string {
  const groups = Buffer.concat([Buffer.from([0xfd]), random]);
  const text = [0, 2, 4].map((at) => groups.readUInt16BE(at).toString(16)).join(':');
  return `${text.replace(/(:0)+$/, '')}::/${IPV6_PREFIX_LENGTH}`;
}

/** The address number `offset` (below 2^32) of a subnet of {@link uniqueLocalSubnet}, as the kernel writes it. */
export function ipv6Address(subnet: string, offset: number): string {
  const prefix = subnet.slice(0, subnet.indexOf('/'));
  const high = Math.floor(offset / 0x10000);
  const low = (offset % 0x10000).toString(16);
  return high === 0 ? `${prefix}${low}` : `${prefix}${high.toString(16)}:${low}`;
}

/** Whether new links of this machine get IPv6 addresses: not built into the kernel and switched off both mean no. */
export async function machineHasIpv6(): Promise<boolean> {
  try {
    const settings = await Promise.all(
      ['all', 'default'].map((name) =>
        readFile(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, 'utf8'),
      ),
    );
    return settings.every((text) => text.trim() === '0');
  } catch {
    return false;
  }
}
