import type { NativeBinding } from '../native.js';
import { type CgroupUsage, CgroupUsageReader } from './cgroup-usage.js';
import { type InterfaceCounters, readInterfaceCounters } from './network-counters.js';
import { isAlive } from './process-identity.js';
import type { SandboxRecord } from './sandbox-record.js';

/** What a whole sandbox uses: all its containers together, and its network. */
export interface SandboxStats extends CgroupUsage {
  readonly sandboxId: string;
  /** Interfaces of the pod without loopback, `eth0` first; absent with the node's network, which is not the pod's, and when it does not run. */
  readonly network?: readonly InterfaceCounters[];
}

/** Reads what sandboxes use; see `SandboxService.stats`. */
export class SandboxStatsReader {
  readonly #usage: CgroupUsageReader;

  constructor(native: Pick<NativeBinding, 'readCgroupStats'>) {
    this.#usage = new CgroupUsageReader(native);
  }

  async read(
    record: SandboxRecord,
    { processes = true }: { readonly processes?: boolean } = {},
  ): Promise<SandboxStats> {
    const usage = await this.#usage.read(record.cgroup, {
      sinceNanos: BigInt(record.createdAtNanos),
      processes,
    });
    const network = readNetwork(record);
    return {
      sandboxId: record.id,
      ...usage,
      ...(network === undefined ? {} : { network }),
    };
  }
}

function readNetwork({
  config,
  state,
  supervisor,
}: SandboxRecord): InterfaceCounters[] | undefined {
  if (config.hostNetwork || state !== 'ready' || supervisor === undefined) return undefined;
  const counters = readInterfaceCounters(supervisor.pid);
  // Asked afterwards: otherwise another process might have got the number between the two.
  if (!isAlive(supervisor)) return undefined;
  const isDefault = ({ name }: InterfaceCounters) => name === 'eth0';
  return [...counters.filter(isDefault), ...counters.filter((each) => !isDefault(each))];
}
