/** How sandboxes get their address: the built-in bridge, or CNI. */
export interface PodNetwork {
  /** Connects the namespace; undone on failure. Attaching twice gives the same address. */
  attach(sandboxId: string, netnsPath: string): Promise<PodAddress>;
  /** Gives address and links back; absent is success, also when the namespace is gone. */
  detach(sandboxId: string): Promise<void>;
  /**
   * Gives back what belongs to no live sandbox. `isLive` is asked while nobody else gives or takes an address: a list made before would miss
   * a sandbox that another process makes meanwhile.
   */
  collect(isLive: (sandboxId: string) => boolean): Promise<void>;
}

export interface PodAddress {
  readonly ip: string;
  readonly gateway: string;
  readonly macAddress: string;
}
