import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const LIMIT_SOURCES = join(import.meta.dirname, '../../bench/limit');

export interface LimitPart {
  readonly directory: string;
  readonly program: string;
  readonly remove: () => void;
}

/**
 * Builds one part of the limit program, which as a whole needs libraries that only the benchmark sets up.
 * @param statement what its main function does
 */
export function buildLimitPart(
  name: string,
  {
    statement,
    sources,
    includes = [],
  }: {
    readonly statement: string;
    readonly sources: readonly string[];
    readonly includes?: readonly string[];
  },
): LimitPart {
  const directory = mkdtempSync(join(tmpdir(), `cais-${name}-`));
  const program = join(directory, name);
  const main = join(directory, 'main.cc');
  const headers = includes.map((header) => `#include <${header}>\n`).join('');
  writeFileSync(main, `#include "${name}.h"\n${headers}int main() { ${statement} }\n`);
  const paths = [`${name}.cc`, 'file.cc', ...sources].map((source) => join(LIMIT_SOURCES, source));
  execFileSync('g++', ['-O2', '-std=c++20', '-I', LIMIT_SOURCES, main, ...paths, '-o', program]);
  return {
    directory,
    program,
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}
