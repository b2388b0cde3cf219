// What the network part of the native boundary takes and gives; the functions are in native.ts.

export interface NetworkLink {
  readonly name: string;
  readonly index: number;
  readonly kind: string;
  readonly up: boolean;
  readonly addresses: readonly string[];
}

export interface BridgeOptions {
  readonly name: string;
  /** `10.66.0.1/24` */
  readonly addressCidr: string;
  /** `fd12::1/64`; absent: no IPv6. */
  readonly address6Cidr?: string;
}

export interface PodInterfaceOptions {
  readonly netnsPath: string;
  readonly bridge: string;
  /** Name of the host end, at most 15 bytes. */
  readonly hostName: string;
  readonly addressCidr: string;
  readonly gateway: string;
  /** Both absent: no IPv6. */
  readonly address6Cidr?: string;
  readonly gateway6?: string;
}

export interface PodInterface {
  readonly macAddress: string;
  /** False where the namespace has IPv6 switched off. */
  readonly hasIpv6: boolean;
}

export interface PodTableOptions {
  readonly table: string;
  readonly bridge: string;
  readonly subnetCidr: string;
  readonly subnet6Cidr?: string;
}

export interface PodTableState {
  /** The table was not there before: it has no host port yet. */
  readonly created: boolean;
  /** Host ports can be reached by ::1. */
  readonly ipv6Loopback: boolean;
}

export interface HostPortsOptions {
  readonly table: string;
  readonly ports: readonly HostPort[];
}

/** One port of this machine that leads to a pod; both addresses are of one family. */
export interface HostPort {
  /** Number of the protocol: 6 TCP, 17 UDP, 132 SCTP. */
  readonly protocol: number;
  /** Absent: every address of the machine, of the family of `podIp`. */
  readonly hostIp?: string;
  readonly hostPort: number;
  readonly podIp: string;
  readonly podPort: number;
}

export interface NamespaceConnection {
  readonly netnsPath: string;
  readonly ip: string;
  readonly port: number;
  readonly timeoutMs: number;
}
