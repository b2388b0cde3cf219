import { isAbsolute, join, resolve } from 'node:path';
import { InvalidArgumentError } from './errors.js';

/** Settings of one engine. Every path under the two roots is made by {@link statePaths}, nowhere else. */
export interface Config {
  /** What survives a reboot: blobs, layers, records. */
  readonly root: string;
  /** What does not: sockets, exit records. Must be short: socket paths end at 108 bytes. */
  readonly run: string;
  /** Cgroup (relative) below which sandboxes live. */
  readonly cgroupParent: string;
  /** How layers are stored; `auto` takes the image form where the kernel accepts it. */
  readonly layerForm: 'auto' | 'image' | 'directory';
  /** `host` or `host:port` of registries that speak plain HTTP; loopback ones need no entry. */
  readonly insecureRegistries: readonly string[];
  /** Built-in bridge network. */
  readonly network: NetworkConfig;
  /** Networks by the Container Network Interface; with a configuration there they take the place of the built-in one. */
  readonly cni: CniConfig;
  /** Upper bounds for one layer (hostile images). */
  readonly limits: {
    readonly layerTarBytes: number;
    readonly layerEntries: number;
    readonly layerMetadataBytes: number;
    /** Bytes that stay free on the disk while pulling, and space for the records of stop and remove. */
    readonly diskReserveBytes: number;
  };
}

export interface NetworkConfig {
  /** Name of the bridge, at most 15 bytes; absent: `cais0` for the default root, else made from the root's path. */
  readonly bridge?: string;
  /** IPv4 subnet of the pods; absent: the first free one of 10.88.0.0/13's /20 blocks. */
  readonly subnet?: string;
}

export interface CniConfig {
  /**
   * Directory of the network configurations; empty: CNI is not used. Absent: what the environment variable CAIS_CNI_CONF_DIR says, else
   * /etc/cni/net.d.
   */
  readonly confDir: string;
  /** Directories of the plugins, in the order of looking. */
  readonly binDirs: readonly string[];
  /** Time that one call of a plugin may take before it is killed. */
  readonly timeoutMs: number;
}

export type ConfigOptions = { readonly [K in keyof Config]?: Partial<Config[K]> | Config[K] };

const DEFAULTS: Config = {
  root: '/var/lib/cais',
  run: '/run/cais',
  cgroupParent: 'cais',
  layerForm: 'auto',
  insecureRegistries: [],
  network: {},
  cni: {
    confDir: '/etc/cni/net.d',
    binDirs: ['/opt/cni/bin', '/usr/lib/cni'],
    timeoutMs: 60_000,
  },
  limits: {
    layerTarBytes: 256 * 2 ** 30,
    layerEntries: 10_000_000,
    layerMetadataBytes: 2 * 2 ** 30,
    diskReserveBytes: 64 * 2 ** 20,
  },
};

/**
 * Fills defaults in and checks values.
 * @throws InvalidArgumentError naming the key.
 */
export function loadConfig(options: ConfigOptions = {}): Config {
  for (const key of Object.keys(options)) {
    if (!(key in DEFAULTS)) throw new InvalidArgumentError(`Unknown configuration key "${key}"`);
  }
  const merged = {
    ...DEFAULTS,
    ...options,
    network: { ...DEFAULTS.network, ...options.network },
    cni: { ...DEFAULTS.cni, confDir: defaultCniDirectory(), ...options.cni },
    limits: { ...DEFAULTS.limits, ...options.limits },
  } as Config;
  const config = { ...merged, root: resolve(merged.root), run: resolve(merged.run) };
  if (!['auto', 'image', 'directory'].includes(config.layerForm)) {
    throw new InvalidArgumentError(
      `Configuration key "layerForm": expected "auto", "image" or "directory", received ${JSON.stringify(config.layerForm)}`,
    );
  }
  if (
    !/^[A-Za-z0-9_-][A-Za-z0-9_.-]*(\/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$/.test(config.cgroupParent)
  ) {
    throw new InvalidArgumentError(
      `Configuration key "cgroupParent": expected a relative path, received ${JSON.stringify(config.cgroupParent)}`,
    );
  }
  checkCni(config.cni);
  return config;
}

/** Directories of CNI by an environment variable, as its other tools have it: podman and others leave their files in the usual one. */
function defaultCniDirectory(): string {
  return process.env['CAIS_CNI_CONF_DIR'] ?? DEFAULTS.cni.confDir;
}

function checkCni({ confDir, binDirs, timeoutMs }: CniConfig): void {
  const isDirectory = (path: unknown) =>
    typeof path === 'string' && isAbsolute(path) && !path.includes(':');
  if (confDir !== '' && !isDirectory(confDir)) {
    throw new InvalidArgumentError(
      `Configuration key "cni.confDir": expected an absolute path or nothing, received ${JSON.stringify(confDir)}`,
    );
  }
  if (!Array.isArray(binDirs) || binDirs.length === 0 || !binDirs.every(isDirectory)) {
    throw new InvalidArgumentError(
      `Configuration key "cni.binDirs": expected absolute paths without ":", received ${JSON.stringify(binDirs)}`,
    );
  }
  if (!Number.isInteger(timeoutMs) || timeoutMs < 1) {
    throw new InvalidArgumentError(
      `Configuration key "cni.timeoutMs": expected milliseconds, received ${JSON.stringify(timeoutMs)}`,
    );
  }
}

/** Every path under the state and run roots. */
export interface StatePaths {
  readonly root: string;
  readonly run: string;
  readonly blobs: string;
  readonly ociLayout: string;
  readonly ociIndex: string;
  readonly ingest: string;
  readonly layers: string;
  readonly mends: string;
  readonly links: string;
  readonly active: string;
  readonly trash: string;
  readonly meta: string;
  readonly locks: string;
  /** Logs of pods run by the CLI or the library, `<namespace>_<name>_<uid>/<container>/<attempt>.log`. */
  readonly logs: string;
  /** Volumes of pods, `<uid>/volumes/<name>`. */
  readonly pods: string;
  /** Compiled seccomp profiles, by digest. */
  readonly seccomp: string;
}

export function statePaths(config: Pick<Config, 'root' | 'run'>): StatePaths {
  const below = (...parts: string[]) => join(config.root, ...parts);
  return {
    root: config.root,
    run: config.run,
    blobs: below('blobs', 'sha256'),
    ociLayout: below('oci-layout'),
    ociIndex: below('index.json'),
    ingest: below('ingest'),
    layers: below('layers', 'sha256'),
    mends: below('layers', 'mend'),
    links: below('l'),
    active: below('active'),
    trash: below('trash'),
    meta: below('meta'),
    locks: below('locks'),
    logs: below('logs'),
    pods: below('pods'),
    seccomp: below('seccomp'),
  };
}
