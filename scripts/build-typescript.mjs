// Compiles src/ into dist/, and bundles the command line program from there into dist-cli/.
//   node scripts/build-typescript.mjs [--if-changed]
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { isUpToDate, sourceHash, writeStamp } from './build-stamp.mjs';

const STAMP = 'dist/.cais-sources';
const PRODUCTS = ['dist/native.js', 'dist-cli/main.js'];

process.chdir(join(import.meta.dirname, '..'));
const require = createRequire(import.meta.url);

/** @param {string} name of an installed npm package */
function installedVersion(name) {
  return JSON.parse(readFileSync(`node_modules/${name}/package.json`, 'utf8')).version;
}

/** Makes dist/ anew: what a deleted source left behind would still be importable. */
function compile() {
  console.log('setup: compiling src/ into dist/ (tsc)');
  rmSync('dist', { recursive: true, force: true });
  const compiler = require.resolve('typescript/bin/tsc');
  const { status } = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (status !== 0) {
    console.error('TypeScript build failed');
    process.exit(1);
  }
}

/**
 * Makes dist-cli/ anew: the program in few files, since loading some 200 small ones takes a fifth of its start. What is imported
 * lazily is a file of its own. npm packages stay outside: bundling those that could be gains less than 10 ms more.
 */
async function bundle() {
  console.log('setup: bundling the command line into dist-cli/ (esbuild)');
  rmSync('dist-cli', { recursive: true, force: true });
  // Loaded here: most calls find everything up to date.
  const { build } = await import('esbuild');
  await build({
    entryPoints: ['dist/cli/main.js'],
    outdir: 'dist-cli',
    bundle: true,
    splitting: true,
    packages: 'external',
    format: 'esm',
    platform: 'node',
    target: 'node20',
    // For node --enable-source-maps; they lead to the files of dist/.
    sourcemap: 'linked',
    sourcesContent: false,
  });
}

const hash = sourceHash(
  ['src', 'tsconfig.json', 'tsconfig.build.json', 'scripts/build-typescript.mjs'],
  [installedVersion('typescript'), installedVersion('esbuild')],
);
if (!process.argv.includes('--if-changed') || !isUpToDate(STAMP, { hash, products: PRODUCTS })) {
  compile();
  await bundle();
  writeStamp(STAMP, hash);
}
