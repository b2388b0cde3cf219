import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { sourceHash } from '../../scripts/build-stamp.mjs';
import { benchCacheDirectory } from '../cache.mjs';

const ROOT = join(import.meta.dirname, '../..');
const FLAGS = ['-O2', '-std=c++20', '-Wall', '-Wextra', '-Werror', '-pthread'];
const LIBRARIES = ['-lisal', '-lcrypto', '-lzstd'];
const HEADERS = ['/usr/include/isa-l.h', '/usr/include/openssl/evp.h', '/usr/include/zstd.h'];

/** Builds the limit program into the cache, unless it is there for these sources; returns its path. */
export function buildLimitProgram() {
  const sources = readdirSync(import.meta.dirname)
    .filter((name) => /\.(cc|h)$/.test(name))
    .sort()
    .map((name) => join(import.meta.dirname, name));
  const hash = sourceHash(sources, [...FLAGS, ...LIBRARIES, process.arch]);
  const directory = join(benchCacheDirectory(), 'limit', hash.slice(0, 16));
  const program = join(directory, 'limit');
  if (existsSync(program)) return program;

  if (!HEADERS.every((header) => existsSync(header))) {
    runProgram(['sh', join(ROOT, 'scripts/setup.sh'), 'bench-limit']);
  }
  mkdirSync(directory, { recursive: true });
  // A build that is interrupted leaves no half program under the final name.
  const unfinished = `${program}.${process.pid}`;
  try {
    runProgram([
      'g++',
      ...FLAGS,
      ...sources.filter((source) => source.endsWith('.cc')),
      '-o',
      unfinished,
      ...LIBRARIES,
    ]);
    renameSync(unfinished, program);
  } finally {
    rmSync(unfinished, { force: true });
  }
  return program;
}

/** @param {readonly [string, ...string[]]} command */
function runProgram([program, ...args]) {
  const { status, error, stderr } = spawnSync(program, args, {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  if (error !== undefined || status !== 0) {
    throw new Error(`Cannot build the limit program: "${program}" failed: ${stderr?.trim()}`, {
      cause: error,
    });
  }
}
