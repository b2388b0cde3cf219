import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { publishDirectory } from '../../bench/cache.mjs';
import { conformanceCache, recipeHash } from './cache-directory.mjs';
import { runCommand } from './command.mjs';

const MODULE = import.meta.dirname;
const CRI_TOOLS = 'sigs.k8s.io/cri-tools';

/**
 * Versions of cri-tools that this directory has a module file for; each has its sums in a file of the same name that ends with `.sum`.
 * @type {Readonly<Record<string, string>>}
 */
export const MODULE_FILES = { 1.36: 'go.mod', 1.37: 'newer.mod' };
export const DEFAULT_VERSION = '1.36';

const BUILD_TIMEOUT_MS = 1_200_000;

/**
 * Programs built from the module in this directory.
 * @typedef {object} GoTools
 * @property {string} directory what lies in PATH when critest calls ginkgo
 * @property {string} critest
 * @property {string} crictl
 * @property {string} criLoad our own client: cmd/criload
 *
 * @typedef {{ readonly reason: string }} Unavailable
 */

/**
 * Why Go programs of this module file cannot be built here; undefined where they can.
 * @param {string} moduleFile
 * @returns {Promise<string | undefined>}
 */
async function findGoObstacle(moduleFile) {
  const needed = /^go (\S+)$/m.exec(readFileSync(join(MODULE, moduleFile), 'utf8'))?.[1] ?? '';
  let version;
  try {
    // Another toolchain is not fetched only for this.
    const { stdout } = await runCommand(['go', 'env', 'GOVERSION'], {
      cwd: '/',
      env: { ...process.env, GOTOOLCHAIN: 'local' },
      timeoutMs: 30_000,
    });
    version = stdout.trim().replace(/^go/, '');
  } catch {
    return `Go is not installed; critest and crictl need Go ${needed} or newer`;
  }
  return isOlder(version, needed)
    ? `Go ${version} is too old; critest and crictl need Go ${needed} or newer`
    : undefined;
}

/**
 * Builds critest, crictl, ginkgo and our own client, or finds them as an earlier run left them in the cache. The first time
 * fetches modules from the Go module proxy and takes some minutes.
 * @param {(line: string) => void} say
 * @param {string} [version] of cri-tools; a key of {@link MODULE_FILES}
 * @returns {Promise<GoTools | Unavailable>}
 */
export async function prepareGoTools(say, version = DEFAULT_VERSION) {
  const moduleFile = MODULE_FILES[version];
  if (!moduleFile) {
    const known = Object.keys(MODULE_FILES).join(', ');
    throw new Error(`There is no module file for cri-tools ${version}, only for ${known}`);
  }
  const obstacle = await findGoObstacle(moduleFile);
  if (obstacle !== undefined) return { reason: obstacle };

  const { stdout: environment } = await runCommand(['go', 'version'], { cwd: '/' });
  const texts = [environment, process.arch];
  const sums = moduleFile.replace(/mod$/, 'sum');
  const module = [moduleFile, sums].map((name) => join(MODULE, name));
  const sources = readdirSync(join(MODULE, 'cmd/criload'))
    .filter((name) => name.endsWith('.go'))
    .map((name) => join(MODULE, 'cmd/criload', name));
  /** @type {(name: string, files: readonly string[], make: (directory: string) => Promise<void>) => Promise<string>} */
  const built = async (name, files, make) => {
    const directory = join(conformanceCache(), `${name}-${recipeHash({ texts, files })}`);
    if (!existsSync(directory)) {
      mkdirSync(conformanceCache(), { recursive: true });
      say(`building ${name} ${version} in ${directory} (once)`);
      await publishDirectory(directory, make);
    }
    return directory;
  };
  const tools = await built('cri-tools', module, (directory) =>
    buildCriTools(directory, moduleFile),
  );
  const client = await built('criload', [...module, ...sources], (directory) =>
    buildClient(directory, moduleFile),
  );
  return {
    directory: tools,
    critest: join(tools, 'critest'),
    crictl: join(tools, 'crictl'),
    criLoad: join(client, 'criload'),
  };
}

/** @param {string} directory @param {string} moduleFile */
async function buildCriTools(directory, moduleFile) {
  const { stdout } = await runCommand(
    ['go', 'list', `-modfile=${moduleFile}`, '-m', '-f', '{{.Version}}', CRI_TOOLS],
    { cwd: MODULE },
  );
  // The version is set by cri-tools' own Makefile; without this the programs call themselves "unknown".
  const flags = [
    `-modfile=${moduleFile}`,
    '-trimpath',
    `-ldflags=-X ${CRI_TOOLS}/pkg/version.Version=${stdout.trim()}`,
  ];
  const options = { cwd: MODULE, timeoutMs: BUILD_TIMEOUT_MS };
  await runCommand(
    [
      'go',
      'build',
      ...flags,
      '-o',
      `${directory}/`,
      `${CRI_TOOLS}/cmd/crictl`,
      'github.com/onsi/ginkgo/v2/ginkgo',
    ],
    options,
  );
  await runCommand(
    ['go', 'test', ...flags, '-c', '-o', join(directory, 'critest'), `${CRI_TOOLS}/cmd/critest`],
    options,
  );
}

/** @param {string} directory @param {string} moduleFile */
async function buildClient(directory, moduleFile) {
  await runCommand(
    ['go', 'build', `-modfile=${moduleFile}`, '-trimpath', '-o', `${directory}/`, './cmd/criload'],
    { cwd: MODULE, timeoutMs: BUILD_TIMEOUT_MS },
  );
}

/**
 * @param {string} version
 * @param {string} needed
 */
function isOlder(version, needed) {
  const [a, b] = [version, needed].map((text) => text.split(/[.a-z]/).map(Number));
  for (const index of [0, 1, 2]) {
    const difference = (a?.[index] ?? 0) - (b?.[index] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}
