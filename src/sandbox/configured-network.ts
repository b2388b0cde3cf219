import type { CniNetwork } from './cni/cni-network.js';
import type { BridgeNetwork } from './network.js';
import type {
  DetachOptions,
  NetworkStatus,
  PodAddress,
  PodNetwork,
  PodToConnect,
} from './pod-network.js';

/**
 * CNI when its directory has a configuration, else the built-in bridge; decided for each pod when it is connected. Files without a valid
 * configuration are an error: somebody wanted another network than ours. What a pod was connected to is given back by whoever did it.
 */
export class ConfiguredNetwork implements PodNetwork {
  readonly #bridge: BridgeNetwork;
  readonly #cni: CniNetwork;

  constructor({ bridge, cni }: { readonly bridge: BridgeNetwork; readonly cni: CniNetwork }) {
    this.#bridge = bridge;
    this.#cni = cni;
  }

  async attach(sandboxId: string, pod: PodToConnect): Promise<PodAddress> {
    return (await this.#current(pod.config.runtimeHandler)).attach(sandboxId, pod);
  }

  async detach(sandboxId: string, options: DetachOptions = {}): Promise<void> {
    await this.#cni.detach(sandboxId, options);
    await this.#bridge.detach(sandboxId);
  }

  async collect(isLive: (sandboxId: string) => boolean): Promise<void> {
    // Another network's broken plugin must not keep our own addresses.
    const [bridge, cni] = await Promise.allSettled([
      this.#bridge.collect(isLive),
      this.#cni.collect(isLive),
    ]);
    for (const outcome of [bridge, cni]) if (outcome.status === 'rejected') throw outcome.reason;
  }

  async status(): Promise<NetworkStatus> {
    return (await this.#current()).status();
  }

  /** For the one owner of the machine's networks; see {@link CniNetwork.collectGarbage}. */
  collectGarbage(): Promise<string[]> {
    return this.#cni.collectGarbage();
  }

  /** Gives everything back, the machine's settings too. */
  async reset(): Promise<void> {
    await this.collect(() => false);
    await this.#bridge.reset();
  }

  async #current(handler?: string): Promise<PodNetwork> {
    const { network, problems } = await this.#cni.configuration(handler);
    return network === undefined && problems.length === 0 ? this.#bridge : this.#cni;
  }
}
