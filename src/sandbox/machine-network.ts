import { closeSync, existsSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TimedOutError } from '../errors.js';
import type { NativeBinding } from '../native.js';

const FORWARDING = '/proc/sys/net/ipv4/ip_forward';
const LOCK_TIMEOUT_MS = 60_000;
const MAX_REGISTRY_BYTES = 1 << 20;

/** What the roots of this machine have agreed on since it was started. */
export interface MachineNetworkState {
  /** What `net.ipv4.ip_forward` was before the first root turned it on. */
  readonly forwardingBefore: string;
  /** Subnet of each root, by the path of the root. */
  readonly subnets: Readonly<Record<string, string>>;
}

export interface MachineNetworkOptions {
  readonly native: Pick<NativeBinding, 'lockFile'>;
  /** Directory of lock and registry: one for the machine, emptied when it starts. */
  readonly directory: string;
}

/**
 * What all roots of one machine share: a lock (bridges, tables and subnets are made and removed by one process at a time), and a registry of
 * their subnets, since a root without pods has no bridge from which its subnet could be seen.
 */
export class MachineNetwork {
  readonly #native: Pick<NativeBinding, 'lockFile'>;
  readonly #lockPath: string;
  readonly #registryPath: string;

  constructor({ native, directory }: MachineNetworkOptions) {
    this.#native = native;
    this.#lockPath = join(directory, 'cais-network.lock');
    this.#registryPath = join(directory, 'cais-network.json');
  }

  /**
   * Runs `action` while no other process of the machine does; callers in one process queue up before.
   * @throws TimedOutError when another process keeps the lock for a minute.
   */
  async exclusively<T>(action: () => Promise<T>): Promise<T> {
    const lock = await this.#lock();
    try {
      return await action();
    } finally {
      closeSync(lock);
    }
  }

  /** Call inside {@link exclusively}. Roots that no longer exist have lost their subnet. */
  async state(): Promise<MachineNetworkState> {
    const stored = await this.#stored();
    const subnets = Object.entries(stored?.subnets ?? {}).filter(([root]) => existsSync(root));
    // Where no root is left, what the machine says now is what was before.
    const forwardingBefore =
      stored === undefined || Object.keys(stored.subnets).length === 0
        ? await readForwarding()
        : stored.forwardingBefore;
    return { forwardingBefore, subnets: Object.fromEntries(subnets) };
  }

  /** Notes the subnet of a root. Call inside {@link exclusively}, before forwarding is turned on. */
  async register(root: string, subnet: string): Promise<void> {
    const { forwardingBefore, subnets } = await this.state();
    if (subnets[root] === subnet) return;
    await this.#store({ forwardingBefore, subnets: { ...subnets, [root]: subnet } });
  }

  /** Forgets a root; when it was the last, forwarding is again what it was. Call inside {@link exclusively}. */
  async unregister(root: string): Promise<void> {
    if ((await this.#stored()) === undefined) return;
    const { forwardingBefore, subnets } = await this.state();
    const { [root]: _, ...others } = subnets;
    if (Object.keys(others).length === 0 && forwardingBefore !== (await readForwarding())) {
      await writeFile(FORWARDING, forwardingBefore);
    }
    await this.#store({ forwardingBefore, subnets: others });
  }

  async #lock(): Promise<number> {
    const waiting = this.#native.lockFile(this.#lockPath, { exclusive: true, wait: true });
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        // Taken after all, later: nobody wants it any more.
        waiting.then((fd) => fd !== null && closeSync(fd)).catch(() => undefined);
        reject(
          new TimedOutError(
            `Another process has kept the network lock "${this.#lockPath}" for ${LOCK_TIMEOUT_MS / 1000} s`,
          ),
        );
      }, LOCK_TIMEOUT_MS);
    });
    try {
      return (await Promise.race([waiting, timeout])) as number;
    } finally {
      clearTimeout(timer);
    }
  }

  async #stored(): Promise<MachineNetworkState | undefined> {
    try {
      const text = await readFile(this.#registryPath, 'utf8');
      if (text.length > MAX_REGISTRY_BYTES) return undefined;
      const parsed = JSON.parse(text) as Partial<MachineNetworkState>;
      if (typeof parsed.subnets !== 'object' || parsed.subnets === null) return undefined;
      return {
        forwardingBefore: parsed.forwardingBefore === '1' ? '1' : '0',
        subnets: parsed.subnets,
      };
    } catch {
      // Absent, or damaged by a machine that went down: the bridges and routes still tell what is taken.
      return undefined;
    }
  }

  async #store(state: MachineNetworkState): Promise<void> {
    const temporary = `${this.#registryPath}.new`;
    await writeFile(temporary, JSON.stringify(state), { mode: 0o600 });
    await rename(temporary, this.#registryPath);
  }
}

async function readForwarding(): Promise<string> {
  return (await readFile(FORWARDING, 'utf8')).trim();
}
