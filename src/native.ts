import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { CgroupStats } from './cgroup-stats.js';
import { NativeError, UnsupportedError } from './errors.js';
import type {
  BridgeOptions,
  HostPortsOptions,
  NamespaceConnection,
  NetworkLink,
  PodInterface,
  PodInterfaceOptions,
  PodTableOptions,
  PodTableState,
} from './native-network.js';

/** Version of the boundary: raised with every change of the interface below, checked at load against C++. */
export const NATIVE_ABI = 7;

/**
 * The native boundary. Every name here is an export of `native/addon/exports.cc`, in the same order
 * (`test/native-boundary.test.ts` compares them).
 *
 * Wrong argument type: TypeError. Failed system call or check: {@link NativeError}. Functions that return a promise run on
 * our own threads, never on libuv's pool. File descriptors returned are owned by the caller and are O_CLOEXEC;
 * descriptors passed in stay the caller's, which keeps them open until the promise settles.
 */
export interface NativeBinding {
  readonly abi: number;
  /** Hands the class over that C++ throws. Called once by {@link loadNative}. */
  setErrorClass(errorClass: typeof NativeError): void;

  // ---- layers: native/addon/layer_binding.cc
  /** One pass over one layer; see {@link LayerJob}. */
  readonly LayerJob: new (
    options: LayerJobOptions,
  ) => LayerJob;
  /**
   * Reads a whole published layer image and gives the digest of the tar in it, `sha256:<hex>`, for the caller to compare.
   * @throws NativeError `BAD_LAYER` if the file is none of ours, of another format version, cut off, or damaged outside of its tar.
   */
  digestLayerImage(path: string): Promise<string>;
  /** Makes the small layer that mends implied directories of a chain; see {@link MendOptions}. */
  buildMendLayer(options: MendOptions): Promise<MendResult>;

  // ---- mounts and trees: native/addon/mount_binding.cc
  /** Writes and mounts a tiny layer image below `directory` and an overlay on it, to learn if this kernel takes the image form. */
  probeLayerImage(directory: string): Promise<ProbeResult>;
  /** Mounts a layer image read-only as a detached mount and returns its descriptor. The file must be one that cais wrote. */
  mountLayerImage(path: string): Promise<number>;
  /** Makes an overlay as a detached mount and returns its descriptor. @throws NativeError `TOO_MANY_LAYERS` with the limit. */
  mountOverlay(options: OverlayOptions): Promise<number>;
  /**
   * Reads a regular file below `rootFd` (openat2 RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, O_NONBLOCK, type checked on the descriptor).
   * Returns null when it does not exist. @throws NativeError `NOT_A_REGULAR_FILE`, `LIMIT_EXCEEDED`.
   */
  readFileInRoot(rootFd: number, path: string, maxBytes: number): Promise<Buffer | null>;
  /** What lies at `path` below `rootFd`, links followed inside it; null when it does not exist. */
  kindInRoot(rootFd: number, path: string): Promise<'directory' | 'file' | 'other' | null>;
  /** Removes a tree without following links and without crossing mounts; absent is success. */
  removeTree(path: string): Promise<void>;
  /** Disk use of a tree: allocated bytes and inodes, hard links counted once. */
  treeUsage(path: string): Promise<TreeUsage>;
  /** fdatasync of a file, and fsync of its directory. */
  syncFile(path: string): Promise<void>;
  /** syncfs of the file system that holds `path`. */
  syncFilesystem(path: string): Promise<void>;
  /** Opens or creates `path` (0600) and takes a flock; the lock lives as long as the returned descriptor. Null when `wait` is false and it is taken. */
  lockFile(path: string, options: LockOptions): Promise<number | null>;

  // ---- cgroups: native/addon/cgroup_binding.cc
  /** What the machine mounts. Read once by the engine. @throws NativeError when neither v1 nor v2 is usable. */
  cgroupLayout(): CgroupLayout;
  /**
   * Creates `path` (relative, e.g. `cais/<sandbox>/<container>`) in every hierarchy and sets `resources`; parents are made and
   * controllers delegated. Undone completely on failure. Returns the absolute directories, in the order of the layout.
   */
  createCgroup(path: string, resources: CgroupResources): Promise<string[]>;
  updateCgroup(path: string, resources: CgroupResources): Promise<void>;
  /** Sends SIGKILL to every process in and below `path` until it is empty or `timeoutMs` has passed (`TIMED_OUT`). Absent is success. */
  killCgroup(path: string, timeoutMs: number): Promise<void>;
  /** Removes `path` and what is below it in every hierarchy; absent is success. Must hold no process. */
  removeCgroup(path: string): Promise<void>;
  /** What a cgroup and those below it use, in one look; `processes` counts processes and their descriptors too. */
  readCgroupStats(path: string, options?: { readonly processes: boolean }): Promise<CgroupStats>;
  /** Sets oom_score_adj of every process in and below `path`. One whose score the kernel does not let us lower keeps it. */
  setOomScore(path: string, score: number): Promise<void>;

  // ---- network: native/addon/network_binding.cc
  /** Links of this network namespace, with their addresses. */
  listLinks(): Promise<NetworkLink[]>;
  /**
   * Creates the bridge if absent, sets its addresses, brings it up and forwarding on; an existing equal one is success.
   * @throws NativeError `CONFLICT` when the name belongs to another kind of link or to a bridge with another IPv4 address.
   */
  ensureBridge(options: BridgeOptions): Promise<void>;
  /** veth pair: host end on the bridge, other end as `eth0` in the namespace with addresses and default routes; loopback up too. Undone on failure. */
  addPodInterface(options: PodInterfaceOptions): Promise<PodInterface>;
  /** Brings `lo` up in the namespace `netnsPath`. */
  setLoopbackUp(netnsPath: string): Promise<void>;
  /** Deletes a link by name; absent is success. */
  removeLink(name: string): Promise<void>;
  /**
   * nftables table `table` (inet): masquerades what leaves the subnets by another link than `bridge`, and holds the maps of host ports
   * (`native/kernel/pod_table.h` shows it). Equal existing table is success and keeps its host ports.
   */
  ensurePodTable(options: PodTableOptions): Promise<PodTableState>;
  /** Deletes the nftables table; absent is success. */
  removePodTable(table: string): Promise<void>;
  /** All of them or none; equal ones that are there are success. @throws NativeError `EEXIST` or `EBUSY` when a port leads to another pod. */
  addHostPorts(options: HostPortsOptions): Promise<void>;
  /** Absent is success; a port that leads to another pod by now stays. */
  removeHostPorts(options: HostPortsOptions): Promise<void>;
  /** Makes the kernel forget UDP flows to these ports of this machine and to these pods: a known flow is never looked up again. */
  forgetUdpFlows(flows: {
    readonly hostPorts: readonly number[];
    readonly podIps: readonly string[];
  }): Promise<void>;
  /**
   * Connects by TCP inside a network namespace and gives the connected socket.
   * @throws NativeError with the errno of connect(2), `ETIMEDOUT` after `timeoutMs` (at most a minute).
   */
  connectInNamespace(options: NamespaceConnection): Promise<number>;

  // ---- processes: native/addon/process_binding.cc
  /** Compiles an OCI runtime-spec `linux.seccomp` object (JSON text) to the bytes of a `struct sock_filter` array for this machine. */
  compileSeccomp(profileJson: string): Promise<Buffer>;
  /**
   * Starts the supervisor of one sandbox by posix_spawn and waits until its control socket listens; see native/supervisor/PROTOCOL.md.
   * The returned process is nobody's child. @throws NativeError with the step that failed in the child.
   */
  spawnSupervisor(options: SpawnSupervisorOptions): Promise<SpawnedSupervisor>;
  /** A connection to a supervisor; see {@link Channel}. */
  readonly Channel: new (
    options: ChannelOptions,
  ) => Channel;
  /** Sets FD_CLOEXEC on every descriptor above 2 of this process. */
  closeOnExecAll(): void;
  /** RLIMIT_NOFILE of a process, by prlimit(2). */
  openFilesLimit(pid: number): { readonly soft: number; readonly hard: number };
  /** A pipe for the output of an exec: one end for us, one for the process. The caller closes both. */
  createPipe(): { readonly readFd: number; readonly writeFd: number };
  /** Two connected stream sockets: one for us, one to attach to a container. The caller closes both. */
  createSocketPair(): { readonly fd: number; readonly peerFd: number };
  /** Sends one datagram to a unix socket, whose abstract name begins with `@`; waits for nothing. @throws NativeError `EAGAIN`, `ENOENT`, `ECONNREFUSED`, … */
  sendDatagram(path: string, message: string): void;
}

export type LayerForm = 'image' | 'directory';

export interface LayerLimits {
  /** Uncompressed bytes of the tar. */
  readonly maxTarBytes: number;
  readonly maxEntries: number;
  /** Bytes of names, link targets, xattrs and pax records held in memory at one time for the whole layer. */
  readonly maxMetadataBytes: number;
  /** Bytes that must stay free on the file system while writing. */
  readonly reserveBytes: number;
}

export interface LayerJobOptions {
  readonly form: LayerForm;
  /**
   * An existing empty private directory on the file system of the store. The job writes `blob` (compressed bytes, if `saveBlob`) and
   * `layer` (a file or a tree) in it, and in the directory form perhaps `discarded` (directories that later entries replaced). The caller publishes by rename or removes the directory.
   */
  readonly directory: string;
  readonly saveBlob: boolean;
  /** `sha256:<hex>` of the compressed bytes; null: not checked. */
  readonly expectedDigest: string | null;
  readonly expectedSizeBytes: number | null;
  readonly expectedDiffId: string | null;
  /** It comes with `finish`; `readFrom` cannot wait for it. */
  readonly diffIdFollows?: boolean;
  /** `own` is the default; `zlib` is for tests to compare with. */
  readonly gzipLibrary?: 'own' | 'zlib';
  readonly limits: LayerLimits;
  /** Called on the main thread when `write` may be called again after it returned false. */
  readonly onDrain: () => void;
}

/**
 * One pass over a layer, on threads of its own: blob file and SHA-256, decompression by magic bytes (gzip, zstd, none), SHA-256 of the
 * tar, tar reading, layer image or tree.
 *
 * Codes of its errors: `DIGEST_MISMATCH`, `SIZE_MISMATCH`, `DIFF_ID_MISMATCH`, `TRUNCATED` (compressed stream or tar ends early),
 * `TRAILING_DATA`, `BAD_COMPRESSION`, `BAD_TAR`, `REFUSED_ENTRY` (names the entry and the rule), `LIMIT_EXCEEDED` (names the limit), `ABORTED`,
 * or an errno name (`ENOSPC`).
 */
export interface LayerJob {
  /** Copies `chunk` into the pipeline. False: the buffer is full, wait for `onDrain` before the next call. After a failure it swallows bytes and returns true. */
  write(chunk: Uint8Array): boolean;
  /**
   * Reads the next `bytes` bytes from a connected stream socket on a thread of the job, as if they came by `write`, and at the pace of the job. The caller
   * does not read the socket meanwhile, and may close `fd` at any time. Nothing but `finish` and `abort` is called before it settles.
   */
  receive(fd: number, bytes: number, idleTimeoutMs: number): Promise<LayerReception>;
  /** What `receive` has brought in all, up to now; 0 when the job has ended. */
  receivedBytes(): number;
  /** Feeds the job from a file on its own threads, instead of `write`: the caller keeps `fd` open until `finish` settles. */
  readFrom(fd: number): void;
  /** No more bytes. Settles when everything is written, hashed and compared. `diffId` where it follows: without it the layer is refused. */
  finish(diffId?: string): Promise<LayerResult>;
  /** Settles (rejects) as soon as the job has failed by itself; resolves with `finish`. For callers that would otherwise go on downloading. */
  readonly failed: Promise<void>;
  /** Ends the job; `finish` rejects with `ABORTED`. The threads have stopped touching the directory when it settles. */
  abort(): void;
}

/** How a `receive` ended. */
export interface LayerReception {
  readonly bytes: number;
  /** `closed`: by the other end; `idle`: no byte came for the whole time-out; `stopped`: the job has failed or was aborted, see `failed`; `failed`: see `errno`. */
  readonly end: 'complete' | 'closed' | 'idle' | 'stopped' | 'failed';
  readonly errno: number;
}

export interface LayerResult {
  readonly digest: string;
  readonly sizeBytes: number;
  readonly diffId: string;
  readonly tarBytes: number;
  readonly compression: 'gzip' | 'zstd' | 'none';
  readonly entries: number;
  /** Allocated bytes of the result. */
  readonly layerBytes: number;
  /** Directories that entries need but the tar does not list, as raw bytes relative to the root, parents first. */
  readonly impliedDirectories: readonly Buffer[];
}

export interface MendOptions {
  readonly form: LayerForm;
  /** As in {@link LayerJobOptions}: the job writes `layer` in it, or nothing when there is nothing to mend. */
  readonly directory: string;
  /** The chain, lowest layer first: an O_PATH or mount descriptor of each layer's root, and what it implies. */
  readonly layers: readonly {
    readonly fd: number;
    readonly impliedDirectories: readonly Buffer[];
  }[];
  /** How many names may be looked up in layers to find out what needs mending; more is `LIMIT_EXCEEDED`. */
  readonly maxSteps: number;
}

export interface MendResult {
  /** False: the chain needs no mending and nothing was written. */
  readonly written: boolean;
  readonly layerBytes: number;
  /** Index of the lowest layer that is seen: those below it are hidden by a layer whose root is opaque, and must be left out. */
  readonly firstVisible: number;
}

export interface ProbeResult {
  readonly supported: boolean;
  /** Which step the kernel refused, for `cais info` and the log; empty when supported. */
  readonly reason: string;
}

export interface OverlayOptions {
  /** Lower layers, lowest first (the caller thinks in chain order; overlayfs wants the top first). At least one. */
  readonly lower: readonly OverlayLower[];
  /** Absolute directories of the writable layer; absent: a read-only overlay. */
  readonly upper?: { readonly upperDirectory: string; readonly workDirectory: string };
  /** A user namespace through whose maps the ids of the lower layers are seen; the upper layer is as it is. `UNSUPPORTED` where the kernel cannot. */
  readonly userNamespaceFd?: number;
  /** Skip syncs of the upper layer (overlayfs `volatile`). */
  readonly volatile: boolean;
  /** Directory of short links, one for each directory-form layer, for kernels without `lowerdir+` (before 6.7). */
  readonly linkDirectory: string;
  /** The static supervisor, which mounts by mount(2) on such kernels and hands the mount back. */
  readonly supervisorPath: string;
}

/** A layer below an overlay: its descriptor, and for directory-form layers the name of its link in `linkDirectory`. */
export interface OverlayLower {
  readonly fd: number;
  readonly link?: string;
}

export interface TreeUsage {
  readonly bytes: number;
  readonly inodes: number;
}

export interface LockOptions {
  readonly exclusive: boolean;
  readonly wait: boolean;
}

export interface CgroupLayout {
  /** Mounted v1 hierarchies, in order. */
  readonly v1: readonly { readonly controllers: readonly string[]; readonly mountpoint: string }[];
  /** The v2 tree, also a hybrid one; null where none is mounted. */
  readonly v2: { readonly mountpoint: string; readonly controllers: readonly string[] } | null;
}

/** Limits of one cgroup; an absent one is not touched. Units are the CRI's; the conversion to v2 weights and `max` is native. */
export interface CgroupResources {
  readonly cpuShares?: number;
  readonly cpuQuotaMicros?: number;
  readonly cpuPeriodMicros?: number;
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  /** -1: no limit. */
  readonly memoryLimitBytes?: number;
  readonly memorySwapLimitBytes?: number;
  /** -1: no limit. */
  readonly pidsLimit?: number;
  /** By page size as cgroups name it (`2MB`); where controller or size are missing there is nothing to limit. */
  readonly hugepageLimits?: readonly HugepageLimit[];
  /** v2 files by name, e.g. `memory.high`. */
  readonly unified?: Readonly<Record<string, string>>;
  /** Device rules in order; absent: not touched. v1 devices controller or a v2 BPF program. */
  readonly devices?: readonly DeviceRule[];
}

export interface HugepageLimit {
  readonly pageSize: string;
  readonly limitBytes: number;
}

export interface DeviceRule {
  readonly allow: boolean;
  readonly type: 'a' | 'b' | 'c';
  /** -1: any. */
  readonly major: number;
  readonly minor: number;
  /** Letters of `rwm`. */
  readonly access: string;
}

export interface SpawnSupervisorOptions {
  readonly executable: string;
  /** SandboxSpec, encoded; see PROTOCOL.md. */
  readonly spec: Uint8Array;
  readonly timeoutMs: number;
}

export interface SpawnedSupervisor {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: with the pid it names the process for ever on this boot. */
  readonly startTicks: number;
}

export interface ChannelOptions {
  /** Path of the control socket. */
  readonly path: string;
  /** One frame: type, request id, payload, descriptors (owned by the receiver). */
  readonly onFrame: (type: number, requestId: number, payload: Buffer, fds: number[]) => void;
  /** Once, when the peer is gone or a frame was malformed. */
  readonly onClose: (error: NativeError | null) => void;
}

/** A connection to a supervisor, on Node's own loop (uv_poll); frames as in PROTOCOL.md. The constructor connects and throws NativeError. */
export interface Channel {
  /** Queues one frame; descriptors are duplicated at the call, so the caller may close its own. */
  send(type: number, requestId: number, payload: Uint8Array, fds: readonly number[]): void;
  /** Pid of the peer by SO_PEERCRED. */
  readonly peerPid: number;
  /** Does not keep the event loop alive when unreferenced. */
  ref(): void;
  unref(): void;
  close(): void;
}

/** Absolute path of the static supervisor that was built beside the addon. */
export const SUPERVISOR_PATH = fileURLToPath(
  new URL('../build/Release/cais-supervisor', import.meta.url),
);
const ADDON_PATH = fileURLToPath(new URL('../build/Release/cais.node', import.meta.url));

let binding: NativeBinding | undefined;

/**
 * Loads the addon on first use.
 * @throws UnsupportedError when it was not built, or was built from another version of the sources.
 */
export function loadNative(): NativeBinding {
  if (binding !== undefined) return binding;
  let loaded: NativeBinding;
  try {
    loaded = createRequire(import.meta.url)(ADDON_PATH) as NativeBinding;
  } catch (cause) {
    throw new UnsupportedError(
      `Cannot load the native addon "${ADDON_PATH}": build it with "npm run build:native"`,
      { cause },
    );
  }
  if (loaded.abi !== NATIVE_ABI) {
    throw new UnsupportedError(
      `The native addon "${ADDON_PATH}" has ABI ${loaded.abi}, expected ${NATIVE_ABI}: build it again with "npm run build:native"`,
    );
  }
  loaded.setErrorClass(NativeError);
  binding = loaded;
  return loaded;
}
