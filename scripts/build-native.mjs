// Builds the addon and the supervisor into build/Release with node-gyp, against headers that are already on this machine.
//   node scripts/build-native.mjs [--if-changed]
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { isUpToDate, sourceHash, writeStamp } from './build-stamp.mjs';

const PRODUCTS = ['build/Release/cais.node', 'build/Release/cais-supervisor'];
const STAMP = 'build/Release/.cais-sources';

process.chdir(join(import.meta.dirname, '..'));
const require = createRequire(import.meta.url);

/**
 * The prefix whose `include/node` has Node's headers: beside this executable, or where distributions put them.
 * Undefined: node-gyp downloads them, which needs the internet.
 */
function findNodeDirectory() {
  const prefixes = [
    dirname(dirname(realpathSync(process.execPath))),
    dirname(dirname(process.execPath)),
    '/usr/local',
    '/usr',
  ];
  const major = process.versions.node.split('.')[0];
  return prefixes.find((prefix) => {
    const versionHeader = join(prefix, 'include/node/node_version.h');
    if (!existsSync(versionHeader)) return false;
    return new RegExp(`#define NODE_MAJOR_VERSION ${major}\\b`).test(
      readFileSync(versionHeader, 'utf8'),
    );
  });
}

/** @param {readonly string[]} args */
function nodeGyp(args) {
  const program = require.resolve('node-gyp/bin/node-gyp.js');
  const nodeDirectory = findNodeDirectory();
  // npm hands its settings on as variables, which node-gyp prefers to arguments.
  const { npm_config_nodedir: _, ...env } = process.env;
  const result = spawnSync(
    process.execPath,
    [
      program,
      ...args,
      '--loglevel=error',
      ...(nodeDirectory ? [`--nodedir=${nodeDirectory}`] : []),
    ],
    { encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 2 ** 28 },
  );
  if (result.error) throw result.error;
  if (result.status !== 0) {
    process.stderr.write(result.stdout + result.stderr);
    console.error(
      nodeDirectory
        ? `Native build failed: node-gyp ${args.join(' ')} ended with ${result.status ?? result.signal}`
        : `Native build failed, and the headers of Node.js ${process.version} are not on this machine: unpack the full archive of nodejs.org (it has include/node) or install your distribution's header package`,
    );
    process.exit(1);
  }
}

const hash = sourceHash(
  ['binding.gyp', 'native'],
  [
    process.version,
    process.arch,
    JSON.parse(readFileSync('node_modules/node-addon-api/package.json', 'utf8')).version,
  ],
);
if (!process.argv.includes('--if-changed') || !isUpToDate(STAMP, { hash, products: PRODUCTS })) {
  console.log('setup: building the native parts (node-gyp)');
  // The list of sources is read when configuring.
  nodeGyp(['configure']);
  nodeGyp(['build', `--jobs=${availableParallelism()}`]);
  writeStamp(STAMP, hash);
}
