import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { publishDirectory } from '../../bench/cache.mjs';
import { conformanceCache, recipeHash } from './cache-directory.mjs';
import { runCommand } from './command.mjs';

const MODULE = import.meta.dirname;
const CRI_TOOLS = 'sigs.k8s.io/cri-tools';
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
 * Why Go programs cannot be built here; undefined where they can.
 * @returns {Promise<string | undefined>}
 */
export async function findGoObstacle() {
  const needed = /^go (\S+)$/m.exec(readFileSync(join(MODULE, 'go.mod'), 'utf8'))?.[1] ?? '';
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
 * @returns {Promise<GoTools | Unavailable>}
 */
export async function prepareGoTools(say) {
  const obstacle = await findGoObstacle();
  if (obstacle !== undefined) return { reason: obstacle };

  const { stdout: environment } = await runCommand(['go', 'version'], { cwd: '/' });
  const texts = [environment, process.arch];
  const module = ['go.mod', 'go.sum'].map((name) => join(MODULE, name));
  const sources = readdirSync(join(MODULE, 'cmd/criload'))
    .filter((name) => name.endsWith('.go'))
    .map((name) => join(MODULE, 'cmd/criload', name));
  /** @type {(name: string, files: readonly string[], make: (directory: string) => Promise<void>) => Promise<string>} */
  const built = async (name, files, make) => {
    const directory = join(conformanceCache(), `${name}-${recipeHash({ texts, files })}`);
    if (!existsSync(directory)) {
      mkdirSync(conformanceCache(), { recursive: true });
      say(`building ${name} in ${directory} (once)`);
      await publishDirectory(directory, make);
    }
    return directory;
  };
  const tools = await built('cri-tools', module, buildCriTools);
  const client = await built('criload', [...module, ...sources], buildClient);
  return {
    directory: tools,
    critest: join(tools, 'critest'),
    crictl: join(tools, 'crictl'),
    criLoad: join(client, 'criload'),
  };
}

/** @param {string} directory */
async function buildCriTools(directory) {
  const { stdout } = await runCommand(['go', 'list', '-m', '-f', '{{.Version}}', CRI_TOOLS], {
    cwd: MODULE,
  });
  // The version is set by cri-tools' own Makefile; without this the programs call themselves "unknown".
  const flags = ['-trimpath', `-ldflags=-X ${CRI_TOOLS}/pkg/version.Version=${stdout.trim()}`];
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

/** @param {string} directory */
async function buildClient(directory) {
  await runCommand(['go', 'build', '-trimpath', '-o', `${directory}/`, './cmd/criload'], {
    cwd: MODULE,
    timeoutMs: BUILD_TIMEOUT_MS,
  });
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
