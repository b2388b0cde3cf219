/** One authentication challenge of a `WWW-Authenticate` header. */
export interface Challenge {
  /** Lower case: `bearer`, `basic`, … */
  readonly scheme: string;
  /** Keys in lower case; of a repeated key the first value counts. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** Longer headers are cut: no registry sends them, and every byte costs time here. */
const MAX_HEADER_LENGTH = 16 * 1024;

const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
const TOKEN68 = /[A-Za-z0-9\-._~+/]+=*[ \t]*(?=,|$)/y;
/** Wider than the RFC's token: registries send plain URLs unquoted. */
const PLAIN_VALUE = /[^\s,"]*/y;
const QUOTED = /"((?:[^"\\]|\\.)*)"/sy;
const SPACE = /[ \t]*/y;
const SEPARATORS = /[ \t,]*/y;

/**
 * Parses the value of `WWW-Authenticate`, several challenges in one value included. Never throws: what does not fit the grammar
 * ends the parse, and the challenges before it are returned.
 * @see RFC 9110 section 11.6.1
 */
export function parseChallenges(header: string): Challenge[] {
  const scanner = new Scanner(header.slice(0, MAX_HEADER_LENGTH));
  const challenges: Challenge[] = [];
  scanner.take(SEPARATORS);
  while (!scanner.atEnd) {
    const scheme = scanner.take(TOKEN);
    if (scheme === undefined) break;
    const parameters = new Map<string, string>();
    challenges.push({ scheme: scheme.toLowerCase(), parameters });
    // A scheme may carry a token68 (Negotiate) in place of parameters; it is of no use to a registry client.
    const gap = scanner.take(SPACE);
    if (gap !== undefined && gap !== '' && scanner.take(TOKEN68) === undefined) {
      readParameters(scanner, parameters);
    }
    if (!scanner.atEnd && scanner.take(SEPARATORS) === '') break;
  }
  return challenges;
}

function readParameters(scanner: Scanner, parameters: Map<string, string>): void {
  for (;;) {
    const start = scanner.position;
    scanner.take(SEPARATORS);
    const key = scanner.take(TOKEN);
    scanner.take(SPACE);
    // A word without `=` is the scheme of the next challenge.
    if (key === undefined || !scanner.takeCharacter('=')) {
      scanner.position = start;
      return;
    }
    scanner.take(SPACE);
    const value = scanner.takeQuoted() ?? scanner.take(PLAIN_VALUE) ?? '';
    if (!parameters.has(key.toLowerCase())) parameters.set(key.toLowerCase(), value);
    scanner.take(SPACE);
    if (scanner.atEnd || !scanner.at(',')) return;
  }
}

class Scanner {
  position = 0;
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  get atEnd(): boolean {
    return this.position >= this.#text.length;
  }

  at(character: string): boolean {
    return this.#text[this.position] === character;
  }

  take(pattern: RegExp): string | undefined {
    return this.#match(pattern)?.[0];
  }

  takeCharacter(character: string): boolean {
    const found = this.at(character);
    if (found) this.position++;
    return found;
  }

  takeQuoted(): string | undefined {
    return this.#match(QUOTED)?.[1]?.replace(/\\(.)/gs, '$1');
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.position;
    const match = pattern.exec(this.#text);
    if (match !== null) this.position += match[0].length;
    return match;
  }
}
