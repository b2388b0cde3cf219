import type { SandboxConfig } from '../runtime/sandbox-config.js';

/** How sandboxes get their address: the built-in bridge, or CNI. */
export interface PodNetwork {
  /** Connects the namespace; undone on failure. Attaching twice gives the same address with the built-in network. */
  attach(sandboxId: string, pod: PodToConnect): Promise<PodAddress>;
  /** Gives address, links and host ports back; absent is success, also when the namespace is gone. */
  detach(sandboxId: string, options?: DetachOptions): Promise<void>;
  /**
   * Gives back what belongs to no live sandbox. `isLive` is asked while nobody else gives or takes an address: a list made before would miss
   * a sandbox that another process makes meanwhile.
   */
  collect(isLive: (sandboxId: string) => boolean): Promise<void>;
  /** Whether the next {@link attach} can work, as far as that can be known before. */
  status(): Promise<NetworkStatus>;
}

/** What a network is told of a pod. */
export interface PodToConnect {
  readonly netnsPath: string;
  readonly config: PodNetworkConfig;
}

export type PodNetworkConfig = Pick<SandboxConfig, 'name' | 'namespace' | 'uid'> &
  Partial<Pick<SandboxConfig, 'annotations' | 'portMappings' | 'dns' | 'runtimeHandler'>>;

export interface DetachOptions {
  /** A path of the namespace that still leads to it, although the process that held it may be gone. */
  readonly netnsPath?: string;
}

export interface PodAddress {
  /** IPv4 where the pod has such an address. */
  readonly ip: string;
  readonly additionalIps: readonly string[];
}

/** What the CRI calls NetworkReady. */
export interface NetworkStatus {
  readonly ready: boolean;
  /** One word for programs, empty when ready. */
  readonly reason: string;
  /** For a person, empty when ready. */
  readonly message: string;
}

export const NETWORK_READY: NetworkStatus = { ready: true, reason: '', message: '' };
