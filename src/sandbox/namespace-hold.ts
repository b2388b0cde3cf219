import { closeSync, openSync } from 'node:fs';
import { isAlive } from './process-identity.js';
import type { SandboxRecord } from './sandbox-record.js';

/** Keeps a sandbox's network namespace while its last process goes, so that a network can still clean up inside. */
export interface NamespaceHold {
  /** Leads to the namespace for every process of the machine; absent when it was gone already. */
  readonly netnsPath?: string;
  release(): void;
}

export function holdNetworkNamespace({ netnsPath, supervisor }: SandboxRecord): NamespaceHold {
  const none = { release: () => undefined };
  if (netnsPath === undefined || supervisor === undefined || !isAlive(supervisor)) return none;
  try {
    const fd = openSync(netnsPath, 'r');
    return { netnsPath: `/proc/${process.pid}/fd/${fd}`, release: () => closeSync(fd) };
  } catch {
    // It ended this very moment.
    return none;
  }
}
