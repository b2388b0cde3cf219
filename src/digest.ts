import { createHash } from 'node:crypto';
import { InvalidArgumentError } from './errors.js';

/** A SHA-256 digest in the OCI form, lower case. The only algorithm cais accepts. */
export type Digest = `sha256:${string}`;

const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** Whether `text` is a digest in exactly the accepted form; safe to use as part of a path only then (CVE-2024-3727). */
export function isDigest(text: unknown): text is Digest {
  return typeof text === 'string' && DIGEST.test(text);
}

/** The 64 hexadecimal digits: the file name of a blob or layer. */
export function digestHex(digest: Digest): string {
  return digest.slice('sha256:'.length);
}

/** Digest of bytes held in memory (manifests, configs; layers are hashed natively). */
export function digestOf(bytes: Uint8Array | string): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/**
 * Name of a stack of layers, lowest first.
 * @see OCI image-spec, config.md, "Layer ChainID"
 */
export function chainId(diffIds: readonly Digest[]): Digest {
  const [first, ...rest] = diffIds;
  if (first === undefined) throw new InvalidArgumentError('An empty chain has no chain ID');
  return rest.reduce<Digest>((parent, diffId) => digestOf(`${parent} ${diffId}`), first);
}
