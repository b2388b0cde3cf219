import { join, resolve } from 'node:path';
import {
  absolutePath,
  address,
  type Check,
  ConfigError,
  count,
  expects,
  map,
  objectOf,
  oneOf,
  path,
  text,
  texts,
} from './config-checks.js';
import { LOG_LEVELS, type LogLevel } from './log.js';

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
  /** Directory of `<host>/hosts.toml` files: mirrors and certificates of registries. Absent: `/etc/cais/certs.d`, or else `/etc/containerd/certs.d`. */
  readonly registryConfigDir?: string;
  /** Images that must stay though nothing uses them: names, beginnings of names (`registry.example/base/*`), parts of names (`*pause*`). */
  readonly pinnedImages: readonly string[];
  /** Built-in bridge network. */
  readonly network: NetworkConfig;
  /** Runtime handlers by name, as a sandbox asks for them; `native` is always there unless another one takes its name. */
  readonly handlers: Readonly<Record<string, HandlerConfig>>;
  /** Handler of sandboxes that ask for none. */
  readonly defaultHandler: string;
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
  /** What only `cais serve` uses. */
  readonly serve: ServeConfig;
}

export interface ServeConfig {
  /** Unix socket of the CRI; absent: `cais.sock` in the run directory. */
  readonly socket?: string;
  /** Name or number of a group that may connect too. */
  readonly socketGroup?: string;
  /** Where exec, attach and port-forward are served: `host:port`, port 0 for any free one. */
  readonly streamAddress: string;
  /** The least that is logged. */
  readonly logLevel: LogLevel;
  /** `host:port` of /metrics for Prometheus, on loopback; absent: none. */
  readonly metricsAddress?: string;
  /** Base URL of an OpenTelemetry collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`; absent: what the environment says, or no traces. */
  readonly otlpEndpoint?: string;
}

/** What runs the containers of a sandbox: the supervisor itself, or an external OCI runtime. */
export type HandlerConfig = NativeHandlerConfig | OciHandlerConfig;

export interface NativeHandlerConfig {
  readonly type: 'native';
  /** Network configurations of its pods, in place of `cni.confDir`; empty: the built-in network. */
  readonly cniConfDir?: string;
}

export interface OciHandlerConfig {
  readonly type: 'oci';
  /** As in {@link NativeHandlerConfig}. */
  readonly cniConfDir?: string;
  /** Absolute path of the program. */
  readonly path: string;
  /** Absolute directory of the runtime's own state; absent: one in the run directory of each sandbox. */
  readonly root?: string;
  /** Options of the program that stand before its command, such as `--platform=kvm`. */
  readonly options?: readonly string[];
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
  pinnedImages: [],
  network: {},
  handlers: { native: { type: 'native' } },
  defaultHandler: 'native',
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
  serve: { streamAddress: '127.0.0.1:0', logLevel: 'info' },
};

/** Every key that there is, with what it takes; the compiler sees to it that none is missing. docs/CONFIGURATION.md describes them. */
const CHECKS: Readonly<Record<keyof Config, Check>> = {
  root: path,
  run: path,
  cgroupParent: expects(
    'a relative path',
    (value) =>
      typeof value === 'string' &&
      /^[A-Za-z0-9_-][A-Za-z0-9_.-]*(\/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$/.test(value),
  ),
  layerForm: oneOf('auto', 'image', 'directory'),
  insecureRegistries: texts,
  registryConfigDir: absolutePath,
  pinnedImages: texts,
  network: objectOf({ bridge: text, subnet: text }),
  // What is in it is checked together with the default, by checkHandlers.
  handlers: map,
  defaultHandler: text,
  cni: objectOf({
    confDir: expects(
      'an absolute path, or nothing',
      (value) => value === '' || isPluginDirectory(value),
    ),
    binDirs: expects(
      'absolute paths without ":"',
      (value) => Array.isArray(value) && value.length > 0 && value.every(isPluginDirectory),
    ),
    timeoutMs: expects(
      'milliseconds',
      (value) => Number.isSafeInteger(value) && (value as number) > 0,
    ),
  }),
  limits: objectOf({
    layerTarBytes: count,
    layerEntries: count,
    layerMetadataBytes: count,
    diskReserveBytes: count,
  }),
  serve: objectOf({
    socket: absolutePath,
    socketGroup: text,
    streamAddress: address,
    logLevel: oneOf(...LOG_LEVELS),
    metricsAddress: address,
    otlpEndpoint: expects(
      'an http:// or https:// URL',
      (value) =>
        typeof value === 'string' && /^https?:\/\/[^\s]+$/.test(value) && URL.canParse(value),
    ),
  }),
};

/**
 * Fills defaults in and checks values.
 * @throws ConfigError naming the key.
 */
export function loadConfig(options: ConfigOptions = {}): Config {
  objectOf(CHECKS)(options, []);
  const merged = {
    ...DEFAULTS,
    ...options,
    network: { ...DEFAULTS.network, ...options.network },
    handlers: { ...DEFAULTS.handlers, ...options.handlers },
    cni: { ...DEFAULTS.cni, confDir: defaultCniDirectory(), ...options.cni },
    limits: { ...DEFAULTS.limits, ...options.limits },
    serve: { ...DEFAULTS.serve, ...options.serve },
  } as Config;
  checkHandlers(merged);
  return { ...merged, root: resolve(merged.root), run: resolve(merged.run) };
}

/** Options that cais gives itself, or that would change what it relies on: where the cgroup is, who can be asked about the container. */
const RESERVED_RUNTIME_OPTIONS = /^--?(root|log|log-format|systemd-cgroup)(=|$)/;

function checkHandlers({ handlers, defaultHandler }: Config): void {
  for (const [name, handler] of Object.entries(handlers)) {
    const wrong = wrongInHandler(name, handler);
    if (wrong === undefined) continue;
    throw new ConfigError(['handlers', name.slice(0, 100)], `expected ${wrong}`);
  }
  if (!Object.hasOwn(handlers, defaultHandler)) {
    throw new ConfigError(
      ['defaultHandler'],
      `expected one of ${Object.keys(handlers).join(', ')}, received ${JSON.stringify(defaultHandler)}`,
    );
  }
}

/** What would be right where a handler is wrong. It comes from a file, whatever its type says. */
function wrongInHandler(name: string, handler: unknown): string | undefined {
  if (!/^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/.test(name)) {
    return 'a name of lower-case letters, digits, "-", "." and "_"';
  }
  if (typeof handler !== 'object' || handler === null) return 'an object';
  const {
    type,
    cniConfDir,
    path,
    root,
    options = [],
    ...rest
  } = handler as Record<string, unknown>;
  if (type !== 'native' && type !== 'oci') return 'the type "native" or "oci"';
  const unknown = Object.keys(rest)[0];
  if (unknown !== undefined) return `no key ${JSON.stringify(unknown.slice(0, 100))}`;
  if (cniConfDir !== undefined && cniConfDir !== '' && !isPluginDirectory(cniConfDir)) {
    return 'an absolute "cniConfDir", or an empty one';
  }
  if (type === 'native') {
    const others = Object.keys(handler).filter((key) => key !== 'type' && key !== 'cniConfDir');
    return others.length === 0 ? undefined : 'no key but "cniConfDir" for the type "native"';
  }
  if (!isAbsolutePath(path)) return 'an absolute "path" of the runtime';
  if (root !== undefined && !isAbsolutePath(root)) return 'an absolute "root"';
  if (!Array.isArray(options)) return 'a list of "options"';
  for (const option of options as unknown[]) {
    if (typeof option !== 'string' || !/^-[^\0]+$/.test(option)) {
      return 'options that begin with "-"';
    }
    if (RESERVED_RUNTIME_OPTIONS.test(option)) return `no option "${option}", which cais gives`;
  }
  return undefined;
}

function isAbsolutePath(path: unknown): boolean {
  return typeof path === 'string' && path.startsWith('/') && !path.includes('\0');
}

/** Plugins get these in lists that ":" separates. */
function isPluginDirectory(value: unknown): boolean {
  return isAbsolutePath(value) && !(value as string).includes(':');
}

/** Directories of CNI by an environment variable, as its other tools have it: podman and others leave their files in the usual one. */
function defaultCniDirectory(): string {
  return process.env['CAIS_CNI_CONF_DIR'] ?? DEFAULTS.cni.confDir;
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
