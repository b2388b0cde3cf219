import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { connectionSettings } from './connection-settings.js';
import { apiHost, type RegistryEndpoint, type RegistryHost, registryHost } from './hosts.js';
import { type HostEntry, type HostsFile, HostsFileError, parseHostsFile } from './hosts-file.js';
import { readHostsFile } from './hosts-file-text.js';

export interface HostsDirectoryOptions {
  /** `/etc/cais/certs.d`; absent: {@link DEFAULT_HOSTS_DIRECTORIES}. */
  readonly path?: string | undefined;
  readonly insecureRegistries: readonly string[];
}

/** The first one that exists is used: whoever has configured containerd need not do it again. */
export const DEFAULT_HOSTS_DIRECTORIES = ['/etc/cais/certs.d', '/etc/containerd/certs.d'];

const MAX_DIRECTORY_ENTRIES = 1000;

/**
 * Which hosts serve a registry, read anew for every pull from a directory in containerd's form:
 * `<host>_<port>_`, `<host>:<port>` or `<host>`, else `_default`, each with a `hosts.toml`, or without one with certificates as Docker wants them.
 */
export class HostsDirectory {
  readonly #options: HostsDirectoryOptions;

  constructor(options: HostsDirectoryOptions) {
    this.#options = options;
  }

  /**
   * The hosts to ask for images of `domain`, in order, at least one; the last one is the registry itself or what stands in for it.
   * @throws HostsFileError
   */
  async endpointsOf(domain: string): Promise<RegistryEndpoint[]> {
    const itself = registryHost(domain, this.#options.insecureRegistries);
    const directory = await this.#directoryOf(domain);
    if (directory === undefined) return [endpointOf(itself)];
    const file = await readHosts(directory);
    const endpoints: RegistryEndpoint[] = [];
    for (const entry of [...file.mirrors, file.server]) {
      endpoints.push(await toEndpoint(entry, { itself, directory }));
    }
    if (!endpoints.some(({ capabilities }) => capabilities.pull)) {
      const path = join(directory, 'hosts.toml');
      throw new HostsFileError(path, `no host has the capability "pull" for images of ${domain}`);
    }
    return endpoints;
  }

  async #directoryOf(domain: string): Promise<string | undefined> {
    const root = await this.#root();
    if (root === undefined) return undefined;
    const port = /:[0-9]+$/.exec(domain)?.[0];
    const escaped = port && `${domain.slice(0, -port.length)}_${port.slice(1)}_`;
    const names = [...(escaped === undefined ? [] : [escaped]), domain, '_default'];
    for (const name of names) {
      const path = join(root, name);
      if (await isDirectory(path)) return path;
    }
    return undefined;
  }

  async #root(): Promise<string | undefined> {
    const { path } = this.#options;
    for (const each of path === undefined ? DEFAULT_HOSTS_DIRECTORIES : [path]) {
      if (await isDirectory(each)) return each;
    }
    return undefined;
  }
}

/** A registry asked directly. */
export function endpointOf(host: RegistryHost): RegistryEndpoint {
  return {
    ...host,
    apiPath: '/v2',
    isMirror: false,
    capabilities: { pull: true, resolve: true },
    headers: {},
    connection: undefined,
  };
}

async function toEndpoint(
  entry: HostEntry,
  { itself, directory }: { readonly itself: RegistryHost; readonly directory: string },
): Promise<RegistryEndpoint> {
  const { url, capabilities, headers } = entry;
  const connection = await connectionSettings(entry, directory);
  const place =
    url === undefined
      ? endpointOf(itself)
      : { domain: itself.domain, origin: url.origin, host: url.host, apiPath: url.pathname };
  const apiPath = place.apiPath === '/' ? '' : place.apiPath;
  const isMirror = apiHost(place.host) !== apiHost(itself.host);
  return { ...place, apiPath, isMirror, capabilities, headers, connection };
}

async function readHosts(directory: string): Promise<HostsFile> {
  const path = join(directory, 'hosts.toml');
  const text = await readHostsFile(path);
  if (text === undefined || text.trim() === '') return certificateFiles(directory);
  return parseHostsFile(text, { path, directory, toml: await import('smol-toml') });
}

/** Without a `hosts.toml`: `*.crt` are authorities, `*.cert` with `*.key` are client certificates. */
async function certificateFiles(directory: string): Promise<HostsFile> {
  const names = (await readdir(directory)).sort();
  if (names.length > MAX_DIRECTORY_ENTRIES) {
    throw new HostsFileError(directory, `more than ${MAX_DIRECTORY_ENTRIES} files`);
  }
  const ending = (suffix: string) => names.filter((name) => name.endsWith(suffix));
  const server: HostEntry = {
    url: undefined,
    capabilities: { pull: true, resolve: true },
    caPaths: ending('.crt').map((name) => join(directory, name)),
    clientPairs: ending('.cert').map((name) => {
      const key = name.replace(/\.cert$/, '.key');
      return {
        certificatePath: join(directory, name),
        keyPath: join(directory, names.includes(key) ? key : name),
      };
    }),
    skipVerify: false,
    headers: {},
    dialTimeoutMs: undefined,
    proxy: undefined,
  };
  return { mirrors: [], server };
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return false;
    throw new HostsFileError(path, code ?? message, error);
  }
}
