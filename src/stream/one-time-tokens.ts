import { randomBytes } from 'node:crypto';
import { ResourceExhaustedError } from '../errors.js';

/** Too many bits to be guessed within the minute that a token lives. */
const TOKEN_BYTES = 24;

/** Keeps values under unguessable names, each for one use and for a limited time. */
export class OneTimeTokens<T> {
  readonly #waiting = new Map<string, { readonly value: T; readonly expiresAt: number }>();
  readonly #lifetimeMs: number;
  readonly #capacity: number;
  #sweep: NodeJS.Timeout | undefined;

  constructor({
    lifetimeMs,
    capacity,
  }: { readonly lifetimeMs: number; readonly capacity: number }) {
    this.#lifetimeMs = lifetimeMs;
    this.#capacity = capacity;
  }

  /** How many tokens wait for their use. */
  get size(): number {
    return this.#waiting.size;
  }

  /**
   * Keeps `value` and answers its token, which fits into a URL as it is.
   * @throws ResourceExhaustedError when too many wait already.
   */
  issue(value: T): string {
    this.#forgetExpired();
    if (this.#waiting.size >= this.#capacity) {
      throw new ResourceExhaustedError(
        `Cannot make a streaming URL: ${this.#capacity} wait for their clients already; try again in a minute`,
        { retryAfterSeconds: Math.ceil(this.#lifetimeMs / 1000) },
      );
    }
    const token = randomBytes(TOKEN_BYTES).toString('base64url');
    this.#waiting.set(token, { value, expiresAt: performance.now() + this.#lifetimeMs });
    this.#plan();
    return token;
  }

  /** Answers what `token` stands for, once; undefined if it is unknown, used or too old. */
  redeem(token: string): T | undefined {
    this.#forgetExpired();
    const entry = this.#waiting.get(token);
    this.#waiting.delete(token);
    return entry?.value;
  }

  /** Forgets all tokens. */
  clear(): void {
    this.#waiting.clear();
    clearTimeout(this.#sweep);
    this.#sweep = undefined;
  }

  #forgetExpired(): void {
    const now = performance.now();
    // All live equally long, so the oldest come first.
    for (const [token, { expiresAt }] of this.#waiting) {
      if (expiresAt > now) return;
      this.#waiting.delete(token);
    }
  }

  /** Requests can be large, so they are not kept until the next caller comes. */
  #plan(): void {
    if (this.#sweep !== undefined) return;
    this.#sweep = setTimeout(() => {
      this.#sweep = undefined;
      this.#forgetExpired();
      if (this.#waiting.size > 0) this.#plan();
    }, this.#lifetimeMs);
    this.#sweep.unref();
  }
}
