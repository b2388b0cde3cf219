import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Where Debian's package docker-registry puts its program. */
export const REGISTRY_PROGRAM = '/usr/bin/docker-registry';

/**
 * A running registry.
 * @typedef {object} LoopbackRegistry
 * @property {string} host `127.0.0.1:<port>`, as it stands in an image reference
 * @property {string} url `http://127.0.0.1:<port>` (https with `tls`)
 * @property {number} port
 * @property {number} pid
 * @property {string} storageDirectory what it stores; removed by `stop`, unless it was given
 * @property {() => string} log the end of what it printed
 * @property {() => Promise<void>} stop ends the process and removes its files; stopping twice is fine
 */

/**
 * @typedef {object} LoopbackRegistryOptions
 * @property {Readonly<Record<string, unknown>>} [auth] the `auth` section of its configuration; absent: open to everybody
 * @property {{ readonly certificatePath: string, readonly keyPath: string }} [tls]
 * @property {boolean} [readOnly] refuses pushes
 * @property {string} [storageDirectory] made when absent, and kept by `stop`; by default one of its own
 * @property {number} [timeoutMs] for coming up; 20 s by default
 */

const LOG_MAX_CHARS = 256 * 1024;

/**
 * Starts Debian's docker-registry on a free loopback port, and waits until it answers.
 * The kernel chooses the port and the registry prints it, so two that start at once never collide.
 * Callers `stop()` it in a `finally` or an `afterAll`; its process is killed when this one exits, its files go away with `stop`.
 * @param {LoopbackRegistryOptions} [options]
 * @returns {Promise<LoopbackRegistry>}
 */
export async function startLoopbackRegistry(options = {}) {
  if (!existsSync(REGISTRY_PROGRAM)) {
    throw new Error(
      `Cannot start a registry: "${REGISTRY_PROGRAM}" is missing; run "npm run setup" (Debian package docker-registry)`,
    );
  }
  const directory = mkdtempSync(join(tmpdir(), 'cais-registry-'));
  const { storageDirectory = join(directory, 'storage') } = options;
  const configPath = join(directory, 'config.yml');
  // JSON is YAML.
  writeFileSync(configPath, JSON.stringify(registryConfig(storageDirectory, options)));

  const child = spawn(REGISTRY_PROGRAM, ['serve', configPath], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], HOME: directory, OTEL_TRACES_EXPORTER: 'none' },
  });
  const exited = new Promise((resolve) => child.once('exit', resolve).once('error', resolve));
  const killWithUs = () => child.kill('SIGKILL');
  process.once('exit', killWithUs);
  let log = '';
  const stop = async () => {
    process.removeListener('exit', killWithUs);
    child.kill('SIGKILL');
    await exited;
    rmSync(directory, { recursive: true, force: true });
  };

  try {
    const port = await new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`The registry did not come up in time; it printed:\n${log}`)),
        options.timeoutMs ?? 20_000,
      );
      const settle = (/** @type {() => void} */ action) => {
        clearTimeout(timer);
        action();
      };
      const read = (/** @type {Buffer} */ chunk) => {
        log = (log + chunk.toString()).slice(-LOG_MAX_CHARS);
        const match = /listening on 127\.0\.0\.1:(\d+)/.exec(log);
        if (match) settle(() => resolve(Number(match[1])));
      };
      child.stdout.on('data', read);
      child.stderr.on('data', read);
      void exited.then(() =>
        settle(() => reject(new Error(`The registry ended at once; it printed:\n${log}`))),
      );
    });
    const host = `127.0.0.1:${port}`;
    return {
      host,
      url: `${options.tls ? 'https' : 'http'}://${host}`,
      port,
      pid: /** @type {number} */ (child.pid),
      storageDirectory,
      log: () => log,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * The configuration file of a docker-registry (JSON is YAML).
 * @param {string} storageDirectory
 * @param {LoopbackRegistryOptions & { readonly address?: string }} options `address`: a free loopback port by default
 */
export function registryConfig(
  storageDirectory,
  { auth, tls, readOnly = false, address = '127.0.0.1:0' },
) {
  return {
    version: 0.1,
    // "info" is the level at which it names its address.
    log: { level: 'info', formatter: 'text', accesslog: { disabled: true } },
    storage: {
      filesystem: { rootdirectory: storageDirectory },
      delete: { enabled: true },
      maintenance: { uploadpurging: { enabled: false }, readonly: { enabled: readOnly } },
    },
    http: {
      addr: address,
      secret: 'a registry that lives for one test',
      ...(tls ? { tls: { certificate: tls.certificatePath, key: tls.keyPath } } : {}),
    },
    ...(auth ? { auth } : {}),
  };
}
