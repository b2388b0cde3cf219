import { closeSync } from 'node:fs';
import type { Digest } from '../digest.js';
import type { SandboxRecord } from '../sandbox/sandbox-record.js';
import type { PrepareOptions } from '../snapshot/snapshotter.js';
import type { ContainerParts } from './container-parts.js';

/** Prepares the root of a container, or an image that it mounts: see `Snapshotter.prepare`. The descriptor is the caller's. */
export type PrepareRoot = (
  containerId: string,
  chain: readonly Digest[],
  options?: Pick<PrepareOptions, 'readOnly'>,
) => Promise<number>;

/**
 * Runs `use` with a way to prepare roots that fit a sandbox: in one with a user namespace of its own, files show the ids of that namespace.
 * @throws UnsupportedError when this kernel cannot map the ids of layers.
 */
export async function withRootsOf<T>(
  parts: Pick<ContainerParts, 'sandboxes' | 'snapshotter'>,
  sandbox: SandboxRecord,
  use: (prepare: PrepareRoot) => Promise<T>,
): Promise<T> {
  const { snapshotter } = parts;
  const { userNamespace } = sandbox.config;
  if (userNamespace === undefined) {
    return use((id, chain, options) => snapshotter.prepare(id, chain, options));
  }
  const client = await parts.sandboxes.client(sandbox.id);
  const { fds } = await client.descriptors({ what: ['user'] });
  const [userNamespaceFd] = fds;
  try {
    if (userNamespaceFd === undefined) throw new Error('The supervisor gave no user namespace');
    const { hostId, length } = userNamespace.uids;
    const ids = { userNamespaceFd, hostId, length };
    return await use((id, chain, options) => snapshotter.prepare(id, chain, { ...options, ids }));
  } finally {
    for (const fd of fds) closeSync(fd);
  }
}
