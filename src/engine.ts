import { rm, rmdir } from 'node:fs/promises';
import { availableParallelism, hostname, networkInterfaces, totalmem } from 'node:os';
import { join } from 'node:path';
import { loadDockerConfig } from './auth/docker-config.js';
import { DockerConfigKeyring } from './auth/keyring.js';
import {
  type Config,
  type ConfigOptions,
  loadConfig,
  type StatePaths,
  statePaths,
} from './config.js';
import { ContainerService } from './container/container.js';
import { ContainerEvents } from './container/events.js';
import { recover } from './container/recover.js';
import type { ContainerRecord, ExitRecord } from './container/state.js';
import { makeDirectories } from './directories.js';
import { describeError } from './errors.js';
import { ImageService } from './image/images.js';
import type { CgroupLayout, LayerForm, NativeBinding, ProbeResult } from './native.js';
import { loadNative, SUPERVISOR_PATH } from './native.js';
import { PodService } from './pod/pod-service.js';
import type { PodContainerExit, PodServices } from './pod/services.js';
import { RecordStore } from './record-store.js';
import { Rollback } from './rollback.js';
import { hostCapabilities } from './runtime/capabilities.js';
import { nativeFeatures } from './runtime/features.js';
import { type RuntimeHandler, RuntimeHandlers } from './runtime/handlers.js';
import { callerOpenFilesLimit, type OpenFilesLimit } from './runtime/open-files.js';
import { SeccompCompiler } from './runtime/seccomp.js';
import { CniNetwork } from './sandbox/cni/cni-network.js';
import { ConfiguredNetwork } from './sandbox/configured-network.js';
import { BridgeNetwork } from './sandbox/network.js';
import type { NetworkStatus } from './sandbox/pod-network.js';
import { SandboxService } from './sandbox/sandbox.js';
import type { SandboxRecord } from './sandbox/sandbox-record.js';
import { LayerStore } from './snapshot/layer-store.js';
import { Snapshotter } from './snapshot/snapshotter.js';
import { NO_TELEMETRY, type Telemetry } from './telemetry.js';

/** Settings of an engine; every one has a default. */
export interface EngineOptions extends ConfigOptions {
  /** Become the owner of sandboxes that have none: what a long-running engine does. Absent: they are only looked at. */
  readonly adopt?: boolean;
  /** Told, in a sentence each, what of earlier runs could not be brought in order now; the next engine tries again. */
  readonly onWarning?: (message: string) => void;
  /** Told how long pulls and starts take. */
  readonly telemetry?: Telemetry;
}

/** What this machine offers and what the engine made of it. */
export interface EngineFacts {
  readonly layerForm: LayerForm;
  /** What a tiny layer image on this kernel said. */
  readonly imageForm: ProbeResult;
  readonly cgroups: CgroupLayout;
  readonly openFiles: OpenFilesLimit;
}

interface EngineParts {
  readonly config: Config;
  readonly paths: StatePaths;
  readonly native: NativeBinding;
  readonly records: RecordStore;
  readonly openFiles: OpenFilesLimit;
  readonly network: ConfiguredNetwork;
  readonly layers: LayerStore;
  readonly images: ImageService;
  readonly snapshotter: Snapshotter;
  readonly sandboxes: SandboxService;
  readonly containers: ContainerService;
  readonly events: ContainerEvents;
  readonly pods: PodService;
  readonly handlers: RuntimeHandlers;
}

/**
 * Images, sandboxes, containers and pods of one root. Any number of engines may be open on different roots, and several processes on
 * the same one. Close it, or hold it by `await using`.
 */
export class Engine implements AsyncDisposable {
  readonly config: Config;
  readonly images: ImageService;
  readonly layers: LayerStore;
  readonly sandboxes: SandboxService;
  readonly containers: ContainerService;
  /** What happens to sandboxes and containers. */
  readonly events: ContainerEvents;
  readonly pods: PodService;
  readonly #parts: EngineParts;
  #closing: Promise<void> | undefined;

  private constructor(parts: EngineParts) {
    this.config = parts.config;
    this.images = parts.images;
    this.layers = parts.layers;
    this.sandboxes = parts.sandboxes;
    this.containers = parts.containers;
    this.events = parts.events;
    this.pods = parts.pods;
    this.#parts = parts;
  }

  /**
   * Builds every service and brings the records of the root together with what really runs.
   * @throws InvalidArgumentError for a wrong setting, UnsupportedError when this machine cannot do it.
   */
  static async open(options: EngineOptions = {}): Promise<Engine> {
    const { adopt = false, onWarning, telemetry = NO_TELEMETRY, ...settings } = options;
    const config = loadConfig(settings);
    const rollback = new Rollback();
    try {
      const parts = await openParts({ config, telemetry }, rollback);
      const { failures } = await recover({
        config,
        sandboxes: parts.sandboxes,
        containers: parts.containers,
        containerRecords: parts.records.collection<ContainerRecord>('containers'),
        snapshotter: parts.snapshotter,
        network: parts.network,
        adopt,
      });
      for (const { id, error } of [...failures, ...(await parts.pods.collect())]) {
        onWarning?.(`Cannot recover ${id} now: ${describeError(error)}`);
      }
      parts.events.opened();
      // Only whoever owns the machine's pods knows all attachments of its networks.
      for (const failure of adopt ? await parts.network.collectGarbage() : []) {
        onWarning?.(`Cannot clean up the pod network now: ${failure}`);
      }
      rollback.commit();
      return new Engine(parts);
    } catch (error) {
      throw await rollback.run(error);
    }
  }

  /** Looks at the machine; a tiny layer image is mounted for it. */
  async facts(): Promise<EngineFacts> {
    const { native, layers, openFiles } = this.#parts;
    return {
      layerForm: layers.form,
      imageForm: await layers.tryImageForm(),
      cgroups: native.cgroupLayout(),
      openFiles,
    };
  }

  /** The configured runtime handlers and what each can do; external runtimes are asked once. */
  runtimeHandlers(): Promise<RuntimeHandler[]> {
    return this.#parts.handlers.list();
  }

  /** Whether new pods can get a network: what the CRI calls NetworkReady. */
  networkStatus(): Promise<NetworkStatus> {
    return this.#parts.network.status();
  }

  /**
   * Undoes everything that was made under this root: pods, sandboxes, images, layers, network, settings of the host; the directories go last.
   * The engine is closed then.
   */
  async reset(): Promise<void> {
    const { pods, sandboxes, network, paths } = this.#parts;
    for (const { name, namespace } of pods.list()) {
      await pods.remove(name, { namespace, force: true });
    }
    for (const { id } of sandboxes.list()) await sandboxes.remove(id);
    await network.reset();
    await this.close();
    await this.#removeCgroupParents();
    // Only what cais makes: a root that a person chose may hold other things.
    const { root, run, ...own } = paths;
    const parents = OWN_PARENTS.map((name) => join(root, name));
    for (const path of [...Object.values(own), ...parents]) {
      await rm(path, { recursive: true, force: true });
    }
    for (const directory of [root, run]) await rmdir(directory).catch(() => undefined);
  }

  /** The cgroups that hold those of sandboxes go too, unless another root has sandboxes there. */
  async #removeCgroupParents(): Promise<void> {
    const { v1, v2 } = this.#parts.native.cgroupLayout();
    const mountpoints = [...v1, ...(v2 === null ? [] : [v2])].map(({ mountpoint }) => mountpoint);
    const { cgroupParent } = this.config;
    for (const mountpoint of mountpoints) {
      for (const parent of [cgroupParent, `${cgroupParent}.supervisors`]) {
        await rmdir(join(mountpoint, parent)).catch(() => undefined);
      }
    }
  }

  /** Ends the pods that were not to outlive this process, and gives every descriptor and connection back. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { pods, containers, events, sandboxes, snapshotter, images, layers, records } =
      this.#parts;
    await pods.close();
    events.close();
    containers.close();
    await sandboxes.close();
    await snapshotter.close();
    await images.close();
    await layers.close();
    await records.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Directories of a root that hold nothing but ours. */
const OWN_PARENTS = ['blobs', 'layers'];

async function openParts(
  { config, telemetry }: { readonly config: Config; readonly telemetry: Telemetry },
  rollback: Rollback,
): Promise<EngineParts> {
  const native = loadNative();
  const paths = statePaths(config);
  await makeDirectories(paths.meta, 0o700);
  const records = RecordStore.open(paths.meta);
  rollback.add('open the records', () => records.close());
  // LMDB's descriptors must not reach what we execute.
  native.closeOnExecAll();
  const openFiles = callerOpenFilesLimit(native, process.env);
  const network = new ConfiguredNetwork({
    bridge: new BridgeNetwork({ config, native, records }),
    cni: new CniNetwork({ ...config, config: config.cni, native, records }),
  });
  const events = new ContainerEvents();
  const sandboxRecords = events.sandboxes(records.collection<SandboxRecord>('sandboxes'));
  const containerRecords = events.containers(records.collection<ContainerRecord>('containers'));
  const handlers = new RuntimeHandlers({ config, nativeFeatures: await nativeFeatures() });
  const sandboxes = new SandboxService({
    handlers,
    config,
    native,
    network,
    sandboxes: sandboxRecords,
    supervisorPath: SUPERVISOR_PATH,
    openFiles,
    telemetry,
  });
  rollback.add('open the sandboxes', () => sandboxes.close());
  const layers = await LayerStore.open({
    config,
    native,
    records,
    findKeptMount: (key) => sandboxes.keptMount(key),
  });
  rollback.add('open the layers', () => layers.close());
  const snapshotter = new Snapshotter({
    ...config,
    native,
    layers,
    supervisorPath: SUPERVISOR_PATH,
  });
  const images = await ImageService.open({
    config,
    native,
    records,
    layers,
    keyring: new DockerConfigKeyring(() => loadDockerConfig()),
    isInUse: (imageId) =>
      containerRecords
        .list()
        .some(({ value }) =>
          [value, ...(value.mountedImages ?? [])].some((used) => used.imageId === imageId),
        ),
    telemetry,
  });
  rollback.add('open the images', () => images.close());
  const containers = new ContainerService({
    config,
    native,
    containers: containerRecords,
    sandboxes,
    snapshotter,
    images: { resolve: (image) => images.find(image) },
    seccomp: new SeccompCompiler(native, { directory: paths.seccomp }),
    openFiles,
    hostCapabilities: hostCapabilities(),
    telemetry,
  });
  const services = podServices({ images, sandboxes, containers, native });
  const pods = new PodService({
    records,
    services,
    facts: {
      hostIps: hostAddresses(),
      nodeName: hostname(),
      nodeCpus: availableParallelism(),
      nodeMemoryBytes: totalmem(),
    },
    directories: { logs: paths.logs, pods: paths.pods },
  });
  return {
    config,
    paths,
    native,
    records,
    openFiles,
    network,
    layers,
    images,
    snapshotter,
    sandboxes,
    containers,
    events,
    pods,
    handlers,
  };
}

/** The lower ranks as pods see them. */
function podServices({
  images,
  sandboxes,
  containers,
  native,
}: Pick<EngineParts, 'images' | 'sandboxes' | 'containers' | 'native'>): PodServices {
  const toPodImage = ({ id, sizeBytes, config }: NonNullable<ReturnType<typeof images.find>>) => ({
    id,
    sizeBytes,
    user: config.user,
  });
  return {
    images: {
      find: (reference) => {
        const image = images.find(reference);
        return image && toPodImage(image);
      },
      pull: async (reference, options) => toPodImage(await images.pull(reference, options)),
    },
    sandboxes: {
      run: async (config, options) => {
        const { id, ip } = await sandboxes.run(config, options);
        return { id, ip };
      },
      remove: (id) => sandboxes.remove(id),
      ofPod: (uid) =>
        sandboxes
          .list()
          .filter(({ config }) => config.uid === uid)
          .map(({ id }) => id),
    },
    containers: {
      create: (sandboxId, config) => containers.create(sandboxId, config),
      start: (id) => containers.start(id),
      stop: (id, options) => containers.stop(id, options),
      remove: (id) => containers.remove(id),
      wait: async (id, options) => toPodExit(await containers.wait(id, options)),
      ofSandbox: (sandboxId) => containers.list({ sandboxId }).map(({ id }) => id),
      isRunning: (id) => {
        const state = containers.get(id)?.state;
        return state === 'running' || state === 'unknown';
      },
      exitOf: (id) => {
        const exit = containers.get(id)?.exit;
        return exit && toPodExit(exit);
      },
    },
    removeTree: (path) => native.removeTree(path),
  };
}

function toPodExit(exit: ExitRecord): PodContainerExit {
  const { exitCode, oomKilled, reason, startedAtNanos, finishedAtNanos } = exit;
  return {
    exitCode,
    oomKilled,
    reason,
    startedAtMs: Number(BigInt(startedAtNanos) / 1_000_000n),
    finishedAtMs: Number(BigInt(finishedAtNanos) / 1_000_000n),
  };
}

/** Addresses of this machine that others may know it by; loopback when there is no other. */
function hostAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const outer = all.filter(({ internal, scopeid }) => !internal && !scopeid);
  const addressesOf = (wanted: string) =>
    outer.filter(({ family }) => family === wanted).map(({ address }) => address);
  // IPv4 first, as the kubelet does by default.
  const ordered = [...addressesOf('IPv4'), ...addressesOf('IPv6')];
  return ordered.length === 0 ? ['127.0.0.1'] : ordered;
}
