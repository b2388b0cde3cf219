import { createHash } from 'node:crypto';
import { inspect } from 'node:util';

/** What a credential consists of; handed out by {@link Credential.reveal} only. */
export type Secret =
  | { readonly kind: 'password'; readonly username: string; readonly password: string }
  /** An OAuth 2 refresh token. */
  | { readonly kind: 'identityToken'; readonly token: string }
  /** A bearer token that the registry takes as it is. */
  | { readonly kind: 'registryToken'; readonly token: string };

/**
 * A right to pull. The secret is private, so that printing, logging, serialising or inspecting an object that holds a
 * credential can never show it.
 */
export class Credential {
  /** Where it came from, for a person: a file, a helper, a secret's name. */
  readonly origin: string;
  readonly #secret: Secret;

  constructor(secret: Secret, origin: string) {
    this.#secret = secret;
    this.origin = origin;
  }

  static password(username: string, password: string, origin: string): Credential {
    return new Credential({ kind: 'password', username, password }, origin);
  }

  /** The secret itself, for the code that puts it on the wire or into a credential file. */
  reveal(): Secret {
    return this.#secret;
  }

  /** Tells two credentials apart without showing either. */
  fingerprint(): string {
    return createHash('sha256').update(JSON.stringify(this.#secret)).digest('hex');
  }

  toString(): string {
    return `credential from ${this.origin}`;
  }

  toJSON(): string {
    return this.toString();
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

/** `Basic …` of RFC 7617. */
export function basicAuthorization(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}
