import { type AuthConfig, readAuthConfig } from '../auth/auth-config.js';
import type { Credential } from '../auth/credential.js';
import type { Keyring } from '../auth/keyring.js';
import type { Reference } from '../reference.js';

/** What a caller of a pull brings; nothing: the machine's own credentials are used. */
export interface CallerCredentials {
  /** For the registry of the image; tried one after the other; empty: anonymous. */
  readonly credentials?: readonly Credential[];
  /** In the form of the CRI, instead of `credentials`; an empty one: anonymous. */
  readonly auth?: AuthConfig | undefined;
}

/** Which credential one pull may show to which host. */
export interface PullCredentials {
  /** Callers who bring credentials of their own never share a pull with others: what one may see is no proof for the other. */
  readonly owner: string;
  /** Candidates for the registry or mirror of this name, best first; empty: anonymous. */
  lookup(registry: string, signal: AbortSignal): Promise<readonly Credential[]>;
}

/**
 * Sorts credentials by hosts: those that a caller brings go to the host they are for and to no other, also not to its mirrors; for mirrors the machine's
 * credentials count, under the mirror's name. (containerd sends what a CRI caller brings without a server address to every mirror.)
 * @throws InvalidArgumentError for a malformed `auth`.
 * @see contracts/kubernetes-semantics.md E13, E38
 */
export function pullCredentials(
  { credentials, auth }: CallerCredentials,
  { reference, keyring }: { readonly reference: Reference; readonly keyring: Keyring },
): PullCredentials {
  const { domain, path } = reference;
  const ofMachine = (registry: string, signal: AbortSignal) =>
    keyring.lookup(`${registry}/${path}`, { signal });
  const own = credentials ? { registry: undefined, credentials } : auth && readAuthConfig(auth);
  if (own === undefined) return { owner: '', lookup: ofMachine };
  const receiver = own.registry ?? domain;
  return {
    owner: [receiver, ...own.credentials.map((each) => each.fingerprint())].join('\n'),
    lookup: async (registry, signal) => {
      if (registry === receiver) return own.credentials;
      return registry === domain ? [] : ofMachine(registry, signal);
    },
  };
}
