import { InvalidArgumentError } from '../errors.js';
import { canonicalName, familiarName, parseReference } from '../reference.js';

type Rule = (name: string) => boolean;

/**
 * Images that the configuration keeps. A pattern is the name of an image (`busybox` is `docker.io/library/busybox:latest`), the beginning of names with `*` at its
 * end, or a part of names between two `*`; names are compared as people write them and in full.
 * @throws InvalidArgumentError for a pattern with `*` elsewhere, or one that is no name.
 */
export class PinnedImages {
  readonly #rules: readonly Rule[];

  constructor(patterns: readonly string[]) {
    this.#rules = patterns.map(toRule);
  }

  /** Whether one of these names, full ones with tag or digest, is kept. */
  has(names: readonly string[]): boolean {
    if (this.#rules.length === 0) return false;
    const written = names.flatMap((name) => [name, familiarName(parseReference(name))]);
    return this.#rules.some((rule) => written.some(rule));
  }
}

function toRule(pattern: string): Rule {
  const keyword = /^\*([^*]+)\*$/.exec(pattern)?.[1];
  if (keyword !== undefined) return (name) => name.includes(keyword);
  const start = /^([^*]+)\*$/.exec(pattern)?.[1];
  if (start !== undefined) return (name) => name.startsWith(start);
  if (pattern.includes('*')) {
    throw new InvalidArgumentError(
      `Configuration key "pinnedImages": ${JSON.stringify(pattern)}: "*" may stand at the end, or at both ends`,
    );
  }
  const reference = parseReference(pattern);
  // A name with a tag and a digest is stored by its digest.
  const { digest } = reference;
  const wanted =
    digest === undefined
      ? canonicalName(reference)
      : `${reference.domain}/${reference.path}@${digest}`;
  return (name) => name === wanted;
}
