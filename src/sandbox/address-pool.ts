import { FailedPreconditionError } from '../errors.js';
import type { Collection, RecordStore, TransactionWriter, WriteOptions } from '../record-store.js';
import type { PortMapping } from '../runtime/sandbox-config.js';
import { describePort, exclude } from './host-ports.js';
import { formatAddress, parseSubnet, subnetSize } from './ipv4.js';

/** The first address of a subnet is its name, the second the bridge's, the last the broadcast. */
export const FIRST_POD_OFFSET = 2;
/** The only record of its collection. */
const NETWORK_ID = 'bridge';

export interface NetworkRecord {
  readonly subnet: string;
  /** Where the next search starts: an address that was just given back is the last to be given again. */
  readonly nextOffset: number;
  /** The bridge of that name is ours, or about to be made: it may be removed. Never true for one that somebody else made. */
  readonly bridgeIsOurs: boolean;
  /** IPv6 subnet, chosen when the machine first had IPv6. */
  readonly subnet6?: string;
}

/** Written before the kernel knows of address and ports, removed after it has forgotten them. */
export interface AddressRecord {
  readonly ip: string;
  readonly ip6?: string;
  readonly hostPorts?: readonly PortMapping[];
  /** `namespace/name`, to say who has a port. */
  readonly pod?: string;
}

/** What a pod asks for besides an address. */
export interface AddressWish {
  readonly pod: string;
  readonly hostPorts: readonly PortMapping[];
}

/** The records of one root's network: its subnets, and which sandbox has which address and host ports. */
export class AddressPool {
  readonly addresses: Collection<AddressRecord>;
  readonly #networks: Collection<NetworkRecord>;
  readonly #records: RecordStore;

  constructor(records: RecordStore) {
    this.#records = records;
    this.#networks = records.collection('network');
    this.addresses = records.collection('addresses');
  }

  get network(): NetworkRecord | undefined {
    return this.#networks.get(NETWORK_ID);
  }

  setNetwork(network: NetworkRecord, options: WriteOptions = {}): Promise<void> {
    return this.#networks.put(NETWORK_ID, network, options);
  }

  removeNetwork(): Promise<void> {
    return this.#networks.remove(NETWORK_ID);
  }

  /**
   * Notes an address and the host ports for a sandbox; the address that it has already when there is one.
   * @throws FailedPreconditionError when none is free, or another sandbox has a port.
   */
  allocate(sandboxId: string, wish: AddressWish): Promise<AddressRecord> {
    return this.#records.transaction((write) => {
      const records = this.addresses.list();
      for (const { id, value } of records) {
        const port = wish.hostPorts.find((one) =>
          value.hostPorts?.some((other) => exclude(one, other)),
        );
        if (port === undefined || id === sandboxId) continue;
        throw new FailedPreconditionError(
          `The pod "${value.pod}" (sandbox ${id}) has ${describePort(port)} already`,
        );
      }
      const used = new Set(records.map(({ value }) => value.ip));
      const ip = this.addresses.get(sandboxId)?.ip ?? this.#freeAddress(write, used);
      const record = { ip, ...wish };
      write.put(this.addresses, sandboxId, record);
      return record;
    });
  }

  #freeAddress(write: TransactionWriter, used: ReadonlySet<string>): string {
    const network = this.network as NetworkRecord;
    const subnet = parseSubnet(network.subnet);
    const count = subnetSize(subnet) - FIRST_POD_OFFSET - 1;
    for (let i = 0; i < count; i++) {
      const offset =
        FIRST_POD_OFFSET + ((network.nextOffset - FIRST_POD_OFFSET + i + count) % count);
      const ip = formatAddress(subnet.first + offset);
      if (used.has(ip)) continue;
      write.put(this.#networks, NETWORK_ID, { ...network, nextOffset: offset + 1 });
      return ip;
    }
    throw new FailedPreconditionError(
      `All ${count} addresses of the subnet ${network.subnet} are in use`,
    );
  }
}
