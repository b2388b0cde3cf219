import { InvalidArgumentError } from '../errors.js';
import { Credential } from './credential.js';
import { decodeAuth } from './docker-config.js';
import { serverKey } from './keyring.js';

/** Credentials as a caller of the CRI sends them; an empty string is as good as absent. @see CRI v1, AuthConfig */
export interface AuthConfig {
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** `base64(user:password)` */
  readonly auth?: string | undefined;
  /** The registry that the credential is for, `registry.example:5000` or a URL. */
  readonly serverAddress?: string | undefined;
  /** OAuth 2 refresh token, exchanged for one to pull with. */
  readonly identityToken?: string | undefined;
  /** Bearer token, sent as it is. */
  readonly registryToken?: string | undefined;
}

/** Who may use the credentials of an {@link AuthConfig}. */
export interface AuthConfigCredentials {
  /** The registry they are for, as references name it; undefined: the one that is pulled from. */
  readonly registry: string | undefined;
  /** Empty: pull anonymously. */
  readonly credentials: readonly Credential[];
}

/**
 * Reads an AuthConfig. The first of these counts: user name with password, identity token, `auth`, registry token.
 * @throws InvalidArgumentError, without anything of the secret, for an `auth` or a server address that is none.
 * @see contracts/kubernetes-semantics.md E13
 */
export function readAuthConfig(config: AuthConfig): AuthConfigCredentials {
  const { serverAddress = '' } = config;
  const registry = serverAddress === '' ? undefined : serverKey(hostOf(serverAddress)).domain;
  const credential = credentialOf(config);
  return { registry, credentials: credential === undefined ? [] : [credential] };
}

const ORIGIN = 'the request';

function credentialOf(config: AuthConfig): Credential | undefined {
  const {
    username = '',
    password = '',
    auth = '',
    identityToken = '',
    registryToken = '',
  } = config;
  if (username !== '') return Credential.password(username, password, ORIGIN);
  if (identityToken !== '') {
    return new Credential({ kind: 'identityToken', token: identityToken }, ORIGIN);
  }
  if (auth !== '') {
    const decoded = decodeAuth(auth);
    if (decoded === undefined) {
      throw new InvalidArgumentError('Invalid "auth": it is no base64 of "user:password"');
    }
    return Credential.password(decoded.username, decoded.password, ORIGIN);
  }
  return registryToken === ''
    ? undefined
    : new Credential({ kind: 'registryToken', token: registryToken }, ORIGIN);
}

/** Server addresses are hosts, hosts with a path, or URLs. */
function hostOf(address: string): string {
  const bare = address.replace(/^https?:\/\//i, '');
  return bare.split('/', 1)[0] ?? '';
}
