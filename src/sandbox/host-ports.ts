import { isIP } from 'node:net';
import { InvalidArgumentError } from '../errors.js';
import type { HostPort } from '../native-network.js';
import type { PortMapping } from '../runtime/sandbox-config.js';

const PROTOCOL_NUMBERS = { tcp: 6, udp: 17, sctp: 132 } as const;
const MAX_PORT = 65_535;

/** Addresses of one pod. */
export interface PodIps {
  readonly ip: string;
  readonly ip6?: string;
}

/**
 * The mappings that ask for a port of the node: number 0 asks for none (the CRI lists every port of a container).
 * @throws InvalidArgumentError for what no mapping can be, and for two of one pod that exclude each other.
 */
export function hostPortsOf(mappings: readonly PortMapping[] = []): PortMapping[] {
  for (const { protocol, containerPort, hostPort, hostIp } of mappings) {
    if (!(protocol in PROTOCOL_NUMBERS)) {
      throw new InvalidArgumentError(
        `Invalid protocol ${JSON.stringify(protocol)} of a port mapping: expected "tcp", "udp" or "sctp"`,
      );
    }
    const isHostPort = hostPort === 0 || isPort(hostPort);
    if (!isHostPort || !(isPort(containerPort) || (hostPort === 0 && containerPort === 0))) {
      throw new InvalidArgumentError(
        `Invalid port mapping ${hostPort}:${containerPort}: expected ports from 1 to ${MAX_PORT}`,
      );
    }
    if (hostIp !== undefined && hostIp !== '' && (isIP(hostIp) === 0 || hostIp.includes('%'))) {
      throw new InvalidArgumentError(
        `Invalid host IP ${JSON.stringify(hostIp.slice(0, 100))} of a port mapping: expected an IP address`,
      );
    }
  }
  const wanted = mappings.filter(({ hostPort }) => hostPort !== 0);
  wanted.forEach((mapping, index) => {
    const twin = wanted.slice(0, index).find((other) => exclude(mapping, other));
    if (twin !== undefined) {
      throw new InvalidArgumentError(
        `Two port mappings of one pod ask for ${describePort(mapping)}`,
      );
    }
  });
  return wanted;
}

/** Whether two mappings ask for one port of the node. */
export function exclude(one: PortMapping, other: PortMapping): boolean {
  if (one.protocol !== other.protocol || one.hostPort !== other.hostPort) return false;
  const [a, b] = [boundTo(one), boundTo(other)];
  const shareFamily = a.families.some((family) => b.families.includes(family));
  return shareFamily && (a.ip === undefined || b.ip === undefined || a.ip === b.ip);
}

/** `host port 53/udp of 192.0.2.1` */
export function describePort({ protocol, hostPort, hostIp }: PortMapping): string {
  return `host port ${hostPort}/${protocol}${hostIp ? ` of ${hostIp}` : ''}`;
}

/** The elements of the kernel's maps for one pod: none for a family in which it has no address. */
export function kernelPorts(mappings: readonly PortMapping[], pod: PodIps): HostPort[] {
  return mappings.flatMap((mapping) => {
    const { families, ip } = boundTo(mapping);
    return families.flatMap((family) => {
      const podIp = family === 4 ? pod.ip : pod.ip6;
      if (podIp === undefined) return [];
      const { protocol, hostPort, containerPort: podPort } = mapping;
      const bound = ip === undefined ? {} : { hostIp: ip };
      return [{ protocol: PROTOCOL_NUMBERS[protocol], ...bound, hostPort, podIp, podPort }];
    });
  });
}

/** Mappings that lead nowhere in a pod without IPv6. */
export function needsIpv6({ hostIp }: PortMapping): boolean {
  return hostIp !== undefined && isIP(hostIp) === 6;
}

/** Families and the one address a mapping is for; no address: every one of the families. */
function boundTo({ hostIp }: PortMapping): {
  readonly families: readonly (4 | 6)[];
  readonly ip?: string;
} {
  if (hostIp === undefined || hostIp === '') return { families: [4, 6] };
  const families = [isIP(hostIp) as 4 | 6];
  const ip = normalized(hostIp);
  return ip === '0.0.0.0' || ip === '::' ? { families } : { families, ip };
}

/** An IPv6 address has many spellings. */
function normalized(ip: string): string {
  return isIP(ip) === 6 ? new URL(`http://[${ip}]`).hostname.slice(1, -1) : ip;
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= MAX_PORT;
}
