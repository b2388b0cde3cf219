import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startLoopbackRegistry } from '../scripts/loopback-registry.mjs';
import { pushOciLayout, writeOciLayout } from '../scripts/oci-layout.mjs';
import { benchCacheDirectory } from './cache.mjs';
import { TAG } from './workloads.mjs';

/** @import { Workload } from './contract.js' */

const WARM_UP_REPOSITORY = 'bench/warm-up';

const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';

/** Processor time in /proc/PID/stat is counted in these, on every architecture. */
const TICKS_PER_SECOND = 100;

/**
 * Debian's docker-registry on loopback with the workloads in it, all of them read once, so that its files are in the page cache. Its storage stays in
 * the cache directory: what is pushed once is there the next time.
 * @param {readonly Workload[]} workloads
 * @returns {Promise<{ workloads: Workload[], pid: number, cpuSeconds: () => number, stop: () => Promise<void> }>}
 *   the same workloads with `reference`; user and system time of the registry so far
 */
export async function startBenchRegistry(workloads) {
  const registry = await startLoopbackRegistry({
    storageDirectory: join(benchCacheDirectory(), 'registry'),
  });
  try {
    await pushWarmUp(registry.url);
    for (const workload of workloads) {
      const url = `${registry.url}/v2/${repositoryOf(workload)}`;
      if (!(await hasImage(url, workload))) await push(registry.url, workload);
      for (const { digest } of workload.layers) await readBlob(`${url}/blobs/${digest}`);
    }
  } catch (error) {
    await registry.stop();
    throw error;
  }
  return {
    workloads: workloads.map((workload) => ({
      ...workload,
      reference: `${registry.host}/${repositoryOf(workload)}:${TAG}`,
    })),
    pid: registry.pid,
    cpuSeconds: () => cpuSecondsOf(registry.pid),
    stop: registry.stop,
  };
}

/**
 * A tiny image in the registry of a workload: daemons pull and remove it before they are measured, as they have pulled others when one looks at them.
 * @param {Workload} workload
 */
export function warmUpReference({ reference }) {
  return `${reference.split('/')[0]}/${WARM_UP_REPOSITORY}:${TAG}`;
}

/** @param {string} registryUrl */
async function pushWarmUp(registryUrl) {
  const directory = mkdtempSync(join(tmpdir(), 'cais-bench-warm-up-'));
  try {
    const layout = writeOciLayout(directory, { layers: [{ tar: Buffer.alloc(1024) }] });
    await pushOciLayout(layout, { registryUrl, repository: WARM_UP_REPOSITORY, tag: TAG });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** @param {Workload} workload */
function repositoryOf({ name, compression }) {
  return `bench/${name}-${compression}`;
}

/**
 * The registry takes a manifest only when it has all its blobs.
 * @param {string} url of the repository
 * @param {Workload} workload
 */
async function hasImage(url, { manifestDigest }) {
  const response = await fetch(`${url}/manifests/${TAG}`, {
    method: 'HEAD',
    headers: { accept: MANIFEST_TYPE },
  });
  return response.headers.get('docker-content-digest') === manifestDigest;
}

/**
 * @param {string} registryUrl
 * @param {Workload} workload
 */
async function push(registryUrl, workload) {
  const { layoutDirectory, layers, manifestDigest } = workload;
  const manifestPath = join(layoutDirectory, 'blobs', ...manifestDigest.split(':'));
  /** @type {{ config: { digest: string } }} */
  const manifest = JSON.parse(readFileSync(manifestPath, 'utf8'));
  await pushOciLayout(
    {
      directory: layoutDirectory,
      manifestDigest,
      configDigest: manifest.config.digest,
      layerDigests: layers.map(({ digest }) => digest),
    },
    { registryUrl, repository: repositoryOf(workload), tag: TAG },
  );
}

/** @param {string} url */
async function readBlob(url) {
  const response = await fetch(url);
  if (!response.ok || !response.body) {
    throw new Error(`The registry answered ${response.status} for ${url}`);
  }
  await response.body.pipeTo(new WritableStream());
}

/**
 * @param {number} pid
 * @see proc(5), /proc/pid/stat
 */
function cpuSecondsOf(pid) {
  // The name, in parentheses, may have spaces; utime and stime are the 12th and 13th fields after it.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
