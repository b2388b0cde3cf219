// Runs the pod of examples/pod.yaml and shows its log; the image comes from a registry, as always: one on loopback that gets
// an image made on the spot from Debian's busybox, or the one named by the reader.
//   node scripts/demo.mjs [IMAGE]
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMap, parseDocument, visit } from 'yaml';
import { busyboxTar } from './busybox-tar.mjs';
import { startLoopbackRegistry } from './loopback-registry.mjs';
import { pushOciLayout, writeOciLayout } from './oci-layout.mjs';

const REPOSITORY = join(import.meta.dirname, '..');
const EXAMPLE = join(REPOSITORY, 'examples/pod.yaml');

/** @type {import('node:child_process').ChildProcess | undefined} */
let running;
// Ctrl-C reaches cais by itself, which stops the pod; this process stays to clean up. Other signals are handed on.
process.on('SIGINT', () => {});
for (const signal of /** @type {const} */ (['SIGTERM', 'SIGHUP'])) {
  process.on(signal, () => running?.kill(signal));
}

const directory = mkdtempSync(join(tmpdir(), 'cais-demo-'));
const registry = process.argv[2] === undefined ? await startLoopbackRegistry() : undefined;
try {
  const image = registry === undefined ? process.argv[2] : await makeImage(registry);
  const podPath = join(directory, 'pod.yaml');
  writeFileSync(podPath, podWithImage(/** @type {string} */ (image)));
  const roots = ['--root', join(directory, 'root'), '--run', join(directory, 'run')];
  console.log(`demo: cais run -f examples/pod.yaml, with the image ${image}\n`);
  process.exitCode = await cais([...roots, 'run', '-f', podPath]);
  // The bridge and the nftables table outlive a pod.
  await cais([...roots, 'reset', '--force']);
} finally {
  await registry?.stop();
  rmSync(directory, { recursive: true, force: true });
}

/**
 * Puts an image made of busybox into the registry and returns its reference.
 * @param {import('./loopback-registry.mjs').LoopbackRegistry} registry
 */
async function makeImage(registry) {
  const layout = writeOciLayout(join(directory, 'image'), {
    layers: [{ tar: busyboxTar() }],
    config: { Cmd: ['sh'], Env: ['PATH=/bin'] },
  });
  await pushOciLayout(layout, { registryUrl: registry.url, repository: 'demo/busybox' });
  return `${registry.host}/demo/busybox:latest`;
}

/**
 * The example pod, with `image` in every container.
 * @param {string} image
 */
function podWithImage(image) {
  const document = parseDocument(readFileSync(EXAMPLE, 'utf8'));
  visit(document, {
    Map: (_, map) => {
      if (isMap(map) && map.has('image')) map.set('image', image);
    },
  });
  return document.toString();
}

/**
 * Runs bin/cais with this terminal and returns its exit code.
 * @param {readonly string[]} args
 * @returns {Promise<number>}
 */
async function cais(args) {
  const child = spawn(join(REPOSITORY, 'bin/cais'), args, { stdio: 'inherit' });
  running = child;
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (exitCode) => resolve(exitCode ?? 1));
  });
  running = undefined;
  return code;
}
