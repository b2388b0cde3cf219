import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Config } from '../config.js';
import { FailedPreconditionError, InvalidArgumentError } from '../errors.js';
import type { NativeBinding } from '../native.js';
import type { Collection, RecordStore } from '../record-store.js';
import { Rollback } from '../rollback.js';
import { formatAddress, formatSubnet, overlaps, parseSubnet, subnetSize } from './ipv4.js';
import { KeyedLock } from './keyed-lock.js';
import { MachineNetwork } from './machine-network.js';
import type { PodAddress, PodNetwork } from './pod-network.js';
import { chooseSubnet, linkSubnets, routeSubnets } from './subnet-choice.js';

const DEFAULT_ROOT = '/var/lib/cais';
const DEFAULT_BRIDGE = 'cais0';
/** The only record of its collection. */
const NETWORK_ID = 'bridge';
/** The first address is the network's name, the second the bridge's, the last the broadcast. */
const GATEWAY_OFFSET = 1;
const FIRST_POD_OFFSET = 2;

interface NetworkRecord {
  readonly subnet: string;
  /** Where the next search starts: an address that was just given back is the last to be given again. */
  readonly nextOffset: number;
  /** The bridge of that name is ours, or about to be made: it may be removed. Never true for one that somebody else made. */
  readonly bridgeIsOurs: boolean;
}

interface AddressRecord {
  readonly ip: string;
}

/** An address with the length of its subnet's prefix. */
export interface BridgeAddress extends PodAddress {
  readonly prefixLength: number;
}

export interface BridgeNetworkOptions {
  readonly config: Pick<Config, 'root' | 'network'>;
  readonly native: Pick<
    NativeBinding,
    | 'addPodInterface'
    | 'ensureBridge'
    | 'ensureMasquerade'
    | 'listLinks'
    | 'lockFile'
    | 'removeLink'
    | 'removeMasquerade'
  >;
  readonly records: RecordStore;
  /** Where the machine's roots agree with each other; tests have their own. */
  readonly machineDirectory?: string;
}

/**
 * The built-in network: one bridge for each root with an IPv4 subnet of its own, a veth pair for each pod, masquerade for what leaves by another
 * link. Addresses are records and survive restarts of whoever made them; bridge and nftables table exist while a pod does. Turns
 * `net.ipv4.ip_forward` on, and {@link reset} off again. Any number of processes may share the root.
 *
 * Where other software loads br_netfilter and drops by default in its own forward chain (Docker does), it drops what pods send, too: no rule of ours
 * can overrule one in another table.
 */
export class BridgeNetwork implements PodNetwork {
  readonly #native: BridgeNetworkOptions['native'];
  readonly #config: BridgeNetworkOptions['config'];
  readonly #records: RecordStore;
  readonly #networks: Collection<NetworkRecord>;
  readonly #addresses: Collection<AddressRecord>;
  readonly #machine: MachineNetwork;
  readonly #queue = new KeyedLock();
  readonly #bridge: string;
  readonly #table: string;

  constructor({ config, native, records, machineDirectory = '/run' }: BridgeNetworkOptions) {
    const rootHash = createHash('sha256').update(config.root).digest('hex').slice(0, 8);
    this.#native = native;
    this.#config = config;
    this.#records = records;
    this.#networks = records.collection('network');
    this.#addresses = records.collection('addresses');
    this.#machine = new MachineNetwork({ native, directory: machineDirectory });
    this.#bridge =
      config.network.bridge ?? (config.root === DEFAULT_ROOT ? DEFAULT_BRIDGE : `cais${rootHash}`);
    this.#table = `cais_${rootHash}`;
  }

  /**
   * Gives the network namespace an `eth0` with the sandbox's address and a default route; the same address when it has one already.
   * Undone on failure.
   * @throws FailedPreconditionError when no subnet or no address is free.
   */
  attach(sandboxId: string, netnsPath: string): Promise<BridgeAddress> {
    return this.#exclusively(async () => {
      const subnet = parseSubnet(await this.#settleSubnet());
      const gateway = formatAddress(subnet.first + GATEWAY_OFFSET);
      const { prefixLength } = subnet;
      const rollback = new Rollback();
      try {
        const known = this.#addresses.has(sandboxId);
        const ip = await this.#allocate(sandboxId);
        if (!known) rollback.add('address', () => this.#release([sandboxId]));
        await this.#claimBridge(gateway);
        // Made anew or found equal: what somebody has removed by hand is back with the next pod.
        await this.#native.ensureBridge({
          name: this.#bridge,
          addressCidr: `${gateway}/${prefixLength}`,
        });
        await this.#native.ensureMasquerade({
          table: this.#table,
          bridge: this.#bridge,
          subnetCidr: formatSubnet(subnet),
        });
        const hostName = hostLinkName(sandboxId);
        // Left by an attempt that was cut off.
        await this.#native.removeLink(hostName);
        const { macAddress } = await this.#native.addPodInterface({
          netnsPath,
          bridge: this.#bridge,
          hostName,
          addressCidr: `${ip}/${prefixLength}`,
          gateway,
        });
        rollback.commit();
        return { ip, gateway, macAddress, prefixLength };
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
      await this.#networks.remove(NETWORK_ID);
      await this.#machine.unregister(this.#config.root);
    });
  }

  #exclusively<T>(action: () => Promise<T>): Promise<T> {
    return this.#queue.run('network', () => this.#machine.exclusively(action));
  }

  /** The subnet of this root, chosen once; again only when it has come to overlap something while no pod had an address. */
  async #settleSubnet(): Promise<string> {
    const stored = this.#networks.get(NETWORK_ID)?.subnet;
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
      const bridgeIsOurs = this.#networks.get(NETWORK_ID)?.bridgeIsOurs ?? false;
      await this.#networks.put(NETWORK_ID, { subnet, nextOffset: FIRST_POD_OFFSET, bridgeIsOurs });
    }
    return subnet;
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
    const network = this.#networks.get(NETWORK_ID) as NetworkRecord;
    if (network.bridgeIsOurs) return;
    const link = (await this.#native.listLinks()).find(({ name }) => name === this.#bridge);
    // One with our very address can only be left over from this root's earlier life.
    if (link?.addresses.some((address) => address.startsWith(`${gateway}/`)) === false) {
      throw new FailedPreconditionError(
        `The network link "${this.#bridge}" exists and was not made by cais: set "network.bridge" in the configuration`,
      );
    }
    await this.#networks.put(NETWORK_ID, { ...network, bridgeIsOurs: true });
  }

  #allocate(sandboxId: string): Promise<string> {
    return this.#records.transaction((write) => {
      const known = this.#addresses.get(sandboxId);
      if (known !== undefined) return known.ip;
      const network = this.#networks.get(NETWORK_ID) as NetworkRecord;
      const subnet = parseSubnet(network.subnet);
      const used = new Set(this.#addresses.list().map(({ value }) => value.ip));
      const count = subnetSize(subnet) - FIRST_POD_OFFSET - 1;
      for (let i = 0; i < count; i++) {
        const offset =
          FIRST_POD_OFFSET + ((network.nextOffset - FIRST_POD_OFFSET + i + count) % count);
        const ip = formatAddress(subnet.first + offset);
        if (used.has(ip)) continue;
        write.put(this.#networks, NETWORK_ID, { ...network, nextOffset: offset + 1 });
        write.put(this.#addresses, sandboxId, { ip });
        return ip;
      }
      throw new FailedPreconditionError(
        `All ${count} addresses of the subnet ${network.subnet} are in use`,
      );
    });
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
      await this.#native.removeLink(hostLinkName(id));
      if (this.#addresses.has(id)) await this.#addresses.remove(id);
    }
    const network = this.#networks.get(NETWORK_ID);
    if (network?.bridgeIsOurs !== true || this.#addresses.list().length > 0) return;
    await this.#native.removeLink(this.#bridge);
    await this.#native.removeMasquerade(this.#table);
    const removed = { ...network, bridgeIsOurs: false };
    await this.#networks.put(NETWORK_ID, removed, { essential: true });
  }
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
