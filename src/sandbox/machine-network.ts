import { closeSync, existsSync } from 'node:fs';
import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FailedPreconditionError, TimedOutError } from '../errors.js';
import type { NativeBinding } from '../native.js';
import type { PortMapping } from '../runtime/sandbox-config.js';
import { describePort, exclude } from './host-ports.js';

const FORWARDING = '/proc/sys/net/ipv4/ip_forward';
const IPV6_SETTINGS = '/proc/sys/net/ipv6/conf';
const IPV6_FORWARDING = `${IPV6_SETTINGS}/all/forwarding`;
const LOCK_TIMEOUT_MS = 60_000;
const MAX_REGISTRY_BYTES = 1 << 20;

/** What the roots of this machine have agreed on since it was started. */
export interface MachineNetworkState {
  /** What `net.ipv4.ip_forward` was before the first root turned it on. */
  readonly forwardingBefore: string;
  /** The same for IPv6; absent where the machine has none. */
  readonly ipv6Before?: Ipv6Settings;
  /** Subnet of each root, by the path of the root. */
  readonly subnets: Readonly<Record<string, string>>;
  /** Host ports that pods of each root have, by the path of the root. */
  readonly hostPorts?: Readonly<Record<string, readonly PortMapping[]>>;
}

interface Ipv6Settings {
  readonly forwarding: string;
  /** Links that learned routes from announcements of routers (`accept_ra` 1, which ends with forwarding). */
  readonly learning: readonly string[];
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
    const exists = ([root]: readonly [string, unknown]) => existsSync(root);
    const subnets = Object.entries(stored?.subnets ?? {}).filter(exists);
    const hostPorts = Object.entries(stored?.hostPorts ?? {}).filter(exists);
    // Where no root is left, what the machine says now is what was before.
    const before =
      stored === undefined || Object.keys(stored.subnets).length === 0
        ? await readSettings()
        : settingsOf(stored);
    return {
      ...before,
      subnets: Object.fromEntries(subnets),
      hostPorts: Object.fromEntries(hostPorts),
    };
  }

  /** Notes the subnet of a root. Call inside {@link exclusively}, before forwarding is turned on. */
  async register(root: string, subnet: string): Promise<void> {
    const state = await this.state();
    if (state.subnets[root] === subnet) return;
    await this.#store({ ...state, subnets: { ...state.subnets, [root]: subnet } });
  }

  /**
   * Notes which host ports the pods of a root have, all of them. Call inside {@link exclusively}, before they lead anywhere.
   * @throws FailedPreconditionError when a pod of another root has one of them.
   */
  async claimPorts(root: string, ports: readonly PortMapping[]): Promise<void> {
    const state = await this.state();
    const { [root]: own = [], ...others } = state.hostPorts ?? {};
    for (const [other, taken] of Object.entries(others)) {
      const port = ports.find((one) => taken.some((two) => exclude(one, two)));
      if (port === undefined) continue;
      throw new FailedPreconditionError(
        `A pod of the root "${other}" has ${describePort(port)} already`,
      );
    }
    if (JSON.stringify(own) === JSON.stringify(ports)) return;
    const hostPorts = ports.length === 0 ? others : { ...others, [root]: ports };
    await this.#store({ ...state, hostPorts });
  }

  /** Forgets a root; when it was the last, forwarding is again what it was. Call inside {@link exclusively}. */
  async unregister(root: string): Promise<void> {
    if ((await this.#stored()) === undefined) return;
    const state = await this.state();
    const { [root]: _, ...subnets } = state.subnets;
    const { [root]: __, ...hostPorts } = state.hostPorts ?? {};
    if (Object.keys(subnets).length === 0) await restoreSettings(state);
    await this.#store({ ...state, subnets, hostPorts });
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
      return { ...parsed, ...settingsOf(parsed), subnets: parsed.subnets };
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

type Settings = Pick<MachineNetworkState, 'forwardingBefore' | 'ipv6Before'>;

function settingsOf({ forwardingBefore, ipv6Before }: Partial<MachineNetworkState>): Settings {
  return {
    forwardingBefore: forwardingBefore === '1' ? '1' : '0',
    ...(ipv6Before === undefined ? {} : { ipv6Before }),
  };
}

async function readSettings(): Promise<Settings> {
  const forwardingBefore = await readSetting(FORWARDING);
  try {
    const forwarding = await readSetting(IPV6_FORWARDING);
    const learning = [];
    for (const link of await readdir(IPV6_SETTINGS)) {
      if (link === 'all' || link === 'default') continue;
      if ((await readSetting(acceptPath(link))) === '1') learning.push(link);
    }
    return { forwardingBefore, ipv6Before: { forwarding, learning } };
  } catch {
    // A kernel without IPv6.
    return { forwardingBefore };
  }
}

async function restoreSettings({ forwardingBefore, ipv6Before }: Settings): Promise<void> {
  if (forwardingBefore !== (await readSetting(FORWARDING))) {
    await writeFile(FORWARDING, forwardingBefore);
  }
  if (ipv6Before === undefined || ipv6Before.forwarding === (await readSetting(IPV6_FORWARDING))) {
    return;
  }
  await writeFile(IPV6_FORWARDING, ipv6Before.forwarding);
  for (const link of ipv6Before.learning) {
    // Links come and go.
    await writeFile(acceptPath(link), '1').catch(() => undefined);
  }
}

function acceptPath(link: string): string {
  return `${IPV6_SETTINGS}/${link}/accept_ra`;
}

async function readSetting(path: string): Promise<string> {
  return (await readFile(path, 'utf8')).trim();
}
