/** What the modules of the benchmark hand to each other. One contract, so that each can be read and tested alone. */

/** Compression of a workload's layers as they are stored in its OCI layout and registry. */
export type Compression = 'gzip' | 'zstd';
export type WorkloadName = 'debian' | 'app' | 'big';
export type QuestionName = 'extract' | 'pull';

/** One layer of a workload: the tar and both compressed forms lie in the cache as files. */
export interface WorkloadLayer {
  readonly tarPath: string;
  readonly tarBytes: number;
  /** `sha256:…` of the tar. */
  readonly diffId: string;
  readonly blobPath: string;
  readonly blobBytes: number;
  readonly digest: string;
}

/** A workload in one compression, as a contestant sees it. */
export interface Workload {
  readonly name: WorkloadName;
  readonly compression: Compression;
  /** OCI image layout (directory) with one image, tag `bench`. */
  readonly layoutDirectory: string;
  /** `127.0.0.1:PORT/bench/app-gzip:bench`; empty for the question `extract`. */
  readonly reference: string;
  readonly layers: readonly WorkloadLayer[];
  readonly manifestDigest: string;
  readonly entries: number;
  readonly tarBytes: number;
}

/** Where one run of one contestant happens; everything below `directory` is on a fresh ext4 and gone afterwards. */
export interface RunPlace {
  /** Mount point of the fresh file system, empty but for `lost+found`. */
  readonly directory: string;
  readonly question: QuestionName;
  readonly workload: Workload;
  /**
   * Starts a process inside the run's cgroup, without a shell; everything it starts is in there too.
   * `daemon: true` does not wait: the run's end kills it (SIGTERM, then SIGKILL).
   */
  readonly run: (command: readonly string[], options?: RunOptions) => Promise<RunResult>;
  readonly daemon: (command: readonly string[], options?: RunOptions) => Promise<DaemonHandle>;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Directory that the process gets as its root (chroot), for peers of a `--peer-root`. */
  readonly root?: string;
  /** Standard input from a file. */
  readonly stdinPath?: string;
  readonly timeoutMs?: number;
}

export interface RunResult {
  readonly seconds: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface DaemonHandle {
  readonly pid: number;
  readonly log: () => string;
  /** Resolves when a line of its output matches. Rejects when it ends or the time is over. */
  readonly until: (pattern: RegExp, timeoutMs?: number) => Promise<void>;
  /** Standard input and lines of standard output, for a process that is spoken to. */
  readonly write: (line: string) => void;
  readonly stop: () => Promise<void>;
}

/**
 * One way to get a root file system out of an image. For each run the harness makes a fresh file system and cgroup, then calls
 * prepare, execute (the only part that is timed and whose CPU seconds and memory count), tree or afterwards when asked for, and cleanup in any case.
 */
export interface Contestant {
  /** Stable, for tables and --peers: `containerd-2.1-erofs`. */
  readonly name: string;
  /** Short, for people: "containerd 2.1, erofs snapshotter". */
  readonly title: string;
  /** Product alone, for `--peers containerd`. */
  readonly product: string;
  readonly version: string;
  readonly questions: readonly QuestionName[];
  /** What it can read, where that is not everything; a helper decompressor for gzip is compared with gzip alone. */
  readonly compressions?: readonly Compression[];
  /** Checks blob digest and diff ID of every layer, as a runtime must. */
  readonly verifies: boolean;
  /** What stands there afterwards. */
  readonly form: 'image' | 'directory';
  /** One round is enough, and only for debian and app (`--quick`: debian alone): the slow ones. */
  readonly slow?: boolean;
  /** Not timed: configuration, daemon started and answering. */
  prepare(place: RunPlace): Promise<void>;
  /** From a cold store to a root file system that a container could start on. Returns seconds, wall clock. */
  execute(place: RunPlace): Promise<number>;
  /** Calls `visit` with a directory that shows the image's whole tree (mounted when it needs to be), and unmounts. */
  tree(place: RunPlace, visit: (directory: string) => Promise<void>): Promise<void>;
  /** Seconds to remove the image with everything of it from the store; undefined where the contestant has no store. */
  remove?(place: RunPlace): Promise<number>;
  /** Seconds to run `/bin/true`, or what the image has of that kind, in a container on the image, the first time. */
  firstStart?(place: RunPlace): Promise<number>;
  cleanup(place: RunPlace): Promise<void>;
}

/** A kind of contestant, or why it is not here. */
export type Found = Contestant | { readonly product: string; readonly missing: string };

/** What was seen of a machine's two processors while something was measured. */
export interface Placement {
  readonly looks: number;
  /** Of these: on cores that share no third-level cache. */
  readonly far: number;
  /** Both on one core. */
  readonly together: number;
  /** The shortest journey of a cache line to the other processor and back, up to then. */
  readonly nearestNs?: number;
}

/** What one timed run cost. */
export interface RunCost {
  readonly seconds: number;
  /** User and system time of everything in the run's cgroup. */
  readonly cpuSeconds: number;
  /** Largest sum of resident memory (file pages of programs included) over the processes of the cgroup, sampled. */
  readonly peakMemoryBytes: number;
  /** Undefined: nobody looked. */
  readonly placement?: Placement | undefined;
}

/** A result file: bench/results/*.json. */
export interface Results {
  readonly machine: {
    readonly cores: number;
    readonly processor: string;
    readonly memoryBytes: number;
    readonly kernel: string;
    readonly system: string;
    readonly date: string;
    readonly command: string;
  };
  readonly versions: Readonly<Record<string, string>>;
  readonly workloads: readonly WorkloadSummary[];
  readonly runs: readonly RunSummary[];
  readonly limits: readonly LimitSummary[];
  readonly afterwards: readonly AfterwardsSummary[];
  /** Differences between a contestant's tree and the reference tree: empty when they agree. */
  readonly trees: readonly {
    readonly workload: string;
    readonly contestant: string;
    readonly differences: readonly string[];
  }[];
  readonly concurrent?: ConcurrentSummary;
  /** Contestants that could not take part, and why. */
  readonly missing: readonly { readonly product: string; readonly reason: string }[];
}

export interface WorkloadSummary {
  readonly name: WorkloadName;
  readonly entries: number;
  readonly tarBytes: number;
  readonly layers: number;
  readonly blobBytes: Readonly<Record<Compression, number>>;
  readonly manifestDigests: Readonly<Record<Compression, string>>;
}

export interface RunSummary {
  readonly question: QuestionName;
  readonly workload: WorkloadName;
  readonly compression: Compression;
  readonly contestant: string;
  readonly title: string;
  readonly verifies: boolean;
  readonly form: 'image' | 'directory';
  /** Seconds of each round. */
  readonly rounds: readonly number[];
  /** All that was measured in each round, in its order; one of them counts. Older files have none. */
  readonly attempts?: readonly (readonly Pick<RunCost, 'seconds' | 'placement'>[])[];
  readonly medianSeconds: number;
  /** Medians over the rounds. */
  readonly cpuSeconds: number;
  /** Maximum over the rounds, and all their attempts. */
  readonly peakMemoryBytes: number;
  /** Why there are no rounds: what went wrong. */
  readonly error?: string;
}

/** What nobody can be faster than on this machine, measured stage by stage. */
export interface LimitSummary {
  readonly question: QuestionName;
  readonly workload: WorkloadName;
  readonly compression: Compression;
  readonly form: 'image' | 'directory';
  /** The larger of the slowest stage and the sum of CPU seconds divided by the cores; medians over the rounds. */
  readonly seconds: number;
  /** Wall-clock seconds of each stage alone. */
  readonly stages: Readonly<Record<string, number>>;
  /** CPU seconds of each stage alone. */
  readonly stageCpuSeconds: Readonly<Record<string, number>>;
}

export interface AfterwardsSummary {
  readonly workload: WorkloadName;
  readonly compression: Compression;
  readonly contestant: string;
  readonly diskBytes: number;
  readonly readColdSeconds: number;
  readonly readWarmSeconds: number;
  readonly removeSeconds?: number;
  readonly firstStartSeconds?: number;
}

/** How late the event loop was: medians over the rounds, and the maximum of all. */
export interface EventLoopDelay {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
}

/** Eight pulls of different images at the same time. */
export interface ConcurrentSummary {
  readonly images: readonly string[];
  readonly seconds: readonly number[];
  readonly medianSeconds: number;
  /** Sum of the limits of the images (question `pull`, image form). */
  readonly sumOfLimitsSeconds: number;
  /** Without the time in which the machine as a whole stood still, which another process of a higher priority saw. */
  readonly eventLoopDelay: EventLoopDelay;
  /** As the process itself saw it. */
  readonly eventLoopDelayWithStandstills: EventLoopDelay;
  /** How long the machine stood still in each round; null where nobody could watch. */
  readonly standstillSeconds: readonly (number | null)[];
  readonly peakMemoryBytes: number;
}
