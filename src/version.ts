import { readFileSync } from 'node:fs';

/** Version of this package. The path holds from dist/ and from dist-cli/, which are both one level below package.json. */
export function packageVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
