import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Config } from '../config.js';
import { FailedPreconditionError, InvalidArgumentError } from '../errors.js';
import type { NativeBinding } from '../native.js';
import type { HostPort } from '../native-network.js';
import type { Collection, RecordStore } from '../record-store.js';
import { Rollback } from '../rollback.js';
import {
  AddressPool,
  type AddressRecord,
  FIRST_POD_OFFSET,
  type NetworkRecord,
} from './address-pool.js';
import { describePort, hostPortsOf, kernelPorts, needsIpv6 } from './host-ports.js';
import { formatAddress, formatSubnet, overlaps, parseAddress, parseSubnet } from './ipv4.js';
import { IPV6_PREFIX_LENGTH, ipv6Address, machineHasIpv6, uniqueLocalSubnet } from './ipv6.js';
import { KeyedLock } from './keyed-lock.js';
import { MachineNetwork } from './machine-network.js';
import {
  NETWORK_READY,
  type NetworkStatus,
  type PodAddress,
  type PodNetwork,
  type PodToConnect,
} from './pod-network.js';
import { chooseSubnet, linkSubnets, routeSubnets } from './subnet-choice.js';

const DEFAULT_ROOT = '/var/lib/cais';
const DEFAULT_BRIDGE = 'cais0';
/** The first address is the network's name, the second the bridge's. */
const GATEWAY_OFFSET = 1;

/** What `attach` gives, with what else is known of the link. */
export interface BridgeAddress extends PodAddress {
  readonly gateway: string;
  readonly macAddress: string;
  readonly prefixLength: number;
}

/** The bridge as one call of `attach` finds it. */
interface BridgeState {
  readonly gateway: string;
  readonly prefixLength: number;
  readonly subnet6: string | undefined;
  readonly ipv6Loopback: boolean;
}

export interface BridgeNetworkOptions {
  readonly config: Pick<Config, 'root' | 'network'>;
  readonly native: Pick<
    NativeBinding,
    | 'addHostPorts'
    | 'addPodInterface'
    | 'ensureBridge'
    | 'ensurePodTable'
    | 'forgetUdpFlows'
    | 'listLinks'
    | 'lockFile'
    | 'removeHostPorts'
    | 'removeLink'
    | 'removePodTable'
  >;
  readonly records: RecordStore;
  /** Where the machine's roots agree with each other; tests have their own. */
  readonly machineDirectory?: string;
  /** Absent: what the kernel says. */
  readonly hasIpv6?: () => Promise<boolean>;
}

/**
 * The built-in network: one bridge for each root with an IPv4 subnet of its own (and an IPv6 one where the machine has IPv6), a veth pair for
 * each pod, masquerade for what leaves by another link, host ports as elements of nftables maps. Addresses and ports are records and survive
 * restarts of whoever made them; bridge and nftables table exist while a pod does. Turns forwarding on, and {@link reset} off again. Any number of
 * processes may share the root.
 *
 * Where other software loads br_netfilter and drops by default in its own forward chain (Docker does), it drops what pods send, too: no rule of ours
 * can overrule one in another table.
 */
export class BridgeNetwork implements PodNetwork {
  readonly #native: BridgeNetworkOptions['native'];
  readonly #config: BridgeNetworkOptions['config'];
  readonly #pool: AddressPool;
  readonly #addresses: Collection<AddressRecord>;
  readonly #machine: MachineNetwork;
  readonly #hasIpv6: () => Promise<boolean>;
  readonly #queue = new KeyedLock();
  readonly #bridge: string;
  readonly #table: string;

  constructor(options: BridgeNetworkOptions) {
    const { config, native, records, machineDirectory = '/run' } = options;
    const rootHash = createHash('sha256').update(config.root).digest('hex').slice(0, 8);
    this.#native = native;
    this.#config = config;
    this.#hasIpv6 = options.hasIpv6 ?? machineHasIpv6;
    this.#pool = new AddressPool(records);
    this.#addresses = this.#pool.addresses;
    this.#machine = new MachineNetwork({ native, directory: machineDirectory });
    this.#bridge =
      config.network.bridge ?? (config.root === DEFAULT_ROOT ? DEFAULT_BRIDGE : `cais${rootHash}`);
    this.#table = `cais_${rootHash}`;
  }

  /**
   * Gives the network namespace an `eth0` with the sandbox's addresses and default routes, and makes its host ports lead there; the same addresses
   * when it has some already. Undone on failure.
   * @throws FailedPreconditionError when no subnet or no address is free, or another pod has a host port.
   */
  attach(sandboxId: string, { netnsPath, config }: PodToConnect): Promise<BridgeAddress> {
    const hostPorts = hostPortsOf(config.portMappings);
    return this.#exclusively(async () => {
      await this.#settleSubnet();
      const rollback = new Rollback();
      try {
        const known = this.#addresses.get(sandboxId);
        if (known?.hostPorts !== undefined) await this.#removePorts(known);
        const { ip } = await this.#pool.allocate(sandboxId, {
          pod: `${config.namespace}/${config.name}`,
          hostPorts,
        });
        if (known === undefined) rollback.add('address', () => this.#release([sandboxId]));
        if (hostPorts.length > 0) await this.#claimPorts();
        const bridge = await this.#ensureBridge();
        const hostName = hostLinkName(sandboxId);
        // Left by an attempt that was cut off.
        await this.#native.removeLink(hostName);
        const { gateway, prefixLength, subnet6 } = bridge;
        const ip6 = subnet6 === undefined ? undefined : this.#ipv6Of(ip, subnet6);
        const { macAddress, hasIpv6 } = await this.#native.addPodInterface({
          netnsPath,
          bridge: this.#bridge,
          hostName,
          addressCidr: `${ip}/${prefixLength}`,
          gateway,
          ...ipv6Interface(ip6, subnet6),
        });
        const own = hasIpv6 && ip6 !== undefined ? { ip6 } : {};
        await this.#openPorts(sandboxId, { own, bridge });
        rollback.commit();
        return { ip, additionalIps: Object.values(own), gateway, macAddress, prefixLength };
      } catch (error) {
        throw await rollback.run(error);
      }
    });
  }

  /** Gives the address back and removes the link; absent is success. The last one takes bridge and nftables table with it. */
  detach(sandboxId: string): Promise<void> {
    return this.#exclusively(() => this.#release([sandboxId]));
  }

  /** Gives back what belongs to no sandbox of which `isLive` says yes; asked while nobody else gives or takes an address. */
  collect(isLive: (sandboxId: string) => boolean): Promise<void> {
    return this.#exclusively(() => this.#releaseAllBut(isLive));
  }

  /** Gives everything back, the subnet and the machine's forwarding too. */
  reset(): Promise<void> {
    return this.#exclusively(async () => {
      await this.#releaseAllBut(() => false);
      await this.#pool.removeNetwork();
      await this.#machine.unregister(this.#config.root);
    });
  }

  /** Always ready: all it needs is the kernel. */
  async status(): Promise<NetworkStatus> {
    return NETWORK_READY;
  }

  #exclusively<T>(action: () => Promise<T>): Promise<T> {
    return this.#queue.run('network', () => this.#machine.exclusively(action));
  }

  /** The subnet of this root, chosen once; again only when it has come to overlap something while no pod had an address. */
  async #settleSubnet(): Promise<string> {
    const stored = this.#pool.network?.subnet;
    const wanted = this.#config.network.subnet;
    const configured = wanted === undefined ? undefined : formatSubnet(checkSubnet(wanted));
    if (stored !== undefined && this.#addresses.list().length > 0) {
      if (configured === undefined || configured === stored) return stored;
      throw new FailedPreconditionError(
        `The subnet ${stored} is in use by pods: stop them before "network.subnet" becomes ${configured}`,
      );
    }
    const subnet = configured ?? (await this.#freeSubnet(stored));
    await this.#machine.register(this.#config.root, subnet);
    if (subnet !== stored) {
      const before = this.#pool.network ?? { bridgeIsOurs: false };
      await this.#pool.setNetwork({ ...before, subnet, nextOffset: FIRST_POD_OFFSET });
    }
    return subnet;
  }

  /** Bridge and table, made anew or found equal: what somebody has removed by hand is back with the next pod. */
  async #ensureBridge(): Promise<BridgeState> {
    const subnet6 = await this.#settleIpv6Subnet();
    const subnet = parseSubnet((this.#pool.network as NetworkRecord).subnet);
    const gateway = formatAddress(subnet.first + GATEWAY_OFFSET);
    const { prefixLength } = subnet;
    await this.#claimBridge(gateway);
    await this.#native.ensureBridge({
      name: this.#bridge,
      addressCidr: `${gateway}/${prefixLength}`,
      ...(subnet6 === undefined
        ? {}
        : { address6Cidr: `${ipv6Address(subnet6, GATEWAY_OFFSET)}/${IPV6_PREFIX_LENGTH}` }),
    });
    const { created, ipv6Loopback } = await this.#native.ensurePodTable({
      table: this.#table,
      bridge: this.#bridge,
      subnetCidr: formatSubnet(subnet),
      ...(subnet6 === undefined ? {} : { subnet6Cidr: subnet6 }),
    });
    const ports = created ? this.#addresses.list().flatMap(({ value }) => portsOf(value)) : [];
    if (ports.length > 0) await this.#native.addHostPorts({ table: this.#table, ports });
    return { gateway, prefixLength, subnet6, ipv6Loopback };
  }

  async #settleIpv6Subnet(): Promise<string | undefined> {
    if (!(await this.#hasIpv6())) return undefined;
    const network = this.#pool.network as NetworkRecord;
    if (network.subnet6 !== undefined) return network.subnet6;
    const subnet6 = uniqueLocalSubnet();
    await this.#pool.setNetwork({ ...network, subnet6 });
    return subnet6;
  }

  /** The IPv6 address has the same number in its subnet as the IPv4 one, so that nothing is given out twice. */
  #ipv6Of(ip: string, subnet6: string): string {
    const { subnet } = this.#pool.network as NetworkRecord;
    return ipv6Address(subnet6, parseAddress(ip) - parseSubnet(subnet).first);
  }

  async #openPorts(
    sandboxId: string,
    { own, bridge }: { readonly own: { readonly ip6?: string }; readonly bridge: BridgeState },
  ): Promise<void> {
    const record = { ...(this.#addresses.get(sandboxId) as AddressRecord), ...own };
    const { hostPorts = [] } = record;
    const lost = hostPorts.find(
      (port) =>
        needsIpv6(port) &&
        (own.ip6 === undefined || (port.hostIp === '::1' && !bridge.ipv6Loopback)),
    );
    if (lost !== undefined) {
      throw new FailedPreconditionError(
        own.ip6 === undefined
          ? `The pod has no IPv6 address for ${describePort(lost)}`
          : `Cannot make ${describePort(lost)} lead to a pod: set net.bridge.bridge-nf-call-ip6tables to 0, or ask for 127.0.0.1`,
      );
    }
    await this.#addresses.put(sandboxId, record);
    const ports = portsOf(record);
    if (ports.length === 0) return;
    await this.#native.addHostPorts({ table: this.#table, ports });
    await this.#forgetFlows(record, { gone: false });
  }

  /** A datagram's flow is known to the kernel from its first packet on: it must be looked up again when a port begins or ends to lead to a pod. */
  async #forgetFlows(record: AddressRecord, { gone }: { readonly gone: boolean }): Promise<void> {
    const ports = (record.hostPorts ?? []).filter(({ protocol }) => protocol === 'udp');
    if (ports.length === 0) return;
    await this.#native.forgetUdpFlows({
      hostPorts: ports.map(({ hostPort }) => hostPort),
      podIps: gone ? [record.ip, ...(record.ip6 === undefined ? [] : [record.ip6])] : [],
    });
  }

  async #removePorts(record: AddressRecord): Promise<void> {
    const ports = portsOf(record);
    if (ports.length === 0) return;
    await this.#native.removeHostPorts({ table: this.#table, ports });
    await this.#forgetFlows(record, { gone: true });
  }

  /** Tells the other roots of the machine. */
  #claimPorts(): Promise<void> {
    const ports = this.#addresses.list().flatMap(({ value }) => value.hostPorts ?? []);
    return this.#machine.claimPorts(this.#config.root, ports);
  }

  async #freeSubnet(preferred: string | undefined): Promise<string> {
    const { subnets } = await this.#machine.state();
    const taken = [
      ...linkSubnets(await this.#native.listLinks(), this.#bridge),
      ...routeSubnets(await readFile('/proc/net/route', 'utf8'), this.#bridge),
      ...Object.entries(subnets)
        .filter(([root]) => root !== this.#config.root)
        .map(([, subnet]) => parseSubnet(subnet)),
    ];
    if (preferred !== undefined) {
      const own = parseSubnet(preferred);
      if (!taken.some((other) => overlaps(own, other))) return preferred;
    }
    return formatSubnet(chooseSubnet(taken));
  }

  /**
   * Notes that the bridge is ours before it is made, so that a crash in between leaves nothing unknown.
   * @throws FailedPreconditionError when the name belongs to a link that was there before.
   */
  async #claimBridge(gateway: string): Promise<void> {
    const network = this.#pool.network as NetworkRecord;
    if (network.bridgeIsOurs) return;
    const link = (await this.#native.listLinks()).find(({ name }) => name === this.#bridge);
    // One with our very address can only be left over from this root's earlier life.
    if (link?.addresses.some((address) => address.startsWith(`${gateway}/`)) === false) {
      throw new FailedPreconditionError(
        `The network link "${this.#bridge}" exists and was not made by cais: set "network.bridge" in the configuration`,
      );
    }
    await this.#pool.setNetwork({ ...network, bridgeIsOurs: true });
  }

  #releaseAllBut(isLive: (sandboxId: string) => boolean): Promise<void> {
    return this.#release(
      this.#addresses
        .list()
        .map(({ id }) => id)
        .filter((id) => !isLive(id)),
    );
  }

  /** Links first: an address is free only when nobody has it any more. */
  async #release(sandboxIds: readonly string[]): Promise<void> {
    for (const id of sandboxIds) {
      const record = this.#addresses.get(id);
      if (record?.hostPorts !== undefined) await this.#removePorts(record);
      await this.#native.removeLink(hostLinkName(id));
      if (record === undefined) continue;
      await this.#addresses.remove(id);
      if ((record.hostPorts ?? []).length > 0) await this.#claimPorts();
    }
    const network = this.#pool.network;
    if (network?.bridgeIsOurs !== true || this.#addresses.list().length > 0) return;
    await this.#native.removeLink(this.#bridge);
    await this.#native.removePodTable(this.#table);
    const removed = { ...network, bridgeIsOurs: false };
    await this.#pool.setNetwork(removed, { essential: true });
  }
}

function portsOf(record: AddressRecord): HostPort[] {
  return kernelPorts(record.hostPorts ?? [], record);
}

function ipv6Interface(ip6: string | undefined, subnet6: string | undefined) {
  if (ip6 === undefined || subnet6 === undefined) return {};
  return {
    address6Cidr: `${ip6}/${IPV6_PREFIX_LENGTH}`,
    gateway6: ipv6Address(subnet6, GATEWAY_OFFSET),
  };
}

/** Name of the host end of a sandbox's veth pair, within the kernel's 15 bytes. */
function hostLinkName(sandboxId: string): string {
  const hex = /^[0-9a-f]{12}/.test(sandboxId)
    ? sandboxId
    : createHash('sha256').update(sandboxId).digest('hex');
  return `cv${hex.slice(0, 12)}`;
}

function checkSubnet(text: string) {
  const subnet = parseSubnet(text);
  if (subnet.prefixLength < 8 || subnet.prefixLength > 29) {
    throw new InvalidArgumentError(
      `Configuration key "network.subnet": expected a prefix of 8 to 29 bits, received "${text}"`,
    );
  }
  return subnet;
}
