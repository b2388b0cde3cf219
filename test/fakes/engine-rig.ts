import { closeSync, openSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig, statePaths } from '../../src/config.js';
import { ContainerService } from '../../src/container/container.js';
import { ContainerEvents } from '../../src/container/events.js';
import { type RecoverReport, recover } from '../../src/container/recover.js';
import type { ContainerRecord } from '../../src/container/state.js';
import { type Digest, digestOf } from '../../src/digest.js';
import type { Collection } from '../../src/record-store.js';
import { RecordStore } from '../../src/record-store.js';
import type { ContainerConfig } from '../../src/runtime/container-config.js';
import { RuntimeHandlers } from '../../src/runtime/handlers.js';
import { NO_FEATURES } from '../../src/runtime/oci-features.js';
import type { SandboxConfig } from '../../src/runtime/sandbox-config.js';
import { NETWORK_READY, type PodNetwork } from '../../src/sandbox/pod-network.js';
import { SandboxService } from '../../src/sandbox/sandbox.js';
import type { SandboxRecord } from '../../src/sandbox/sandbox-record.js';
import { Snapshotter } from '../../src/snapshot/snapshotter.js';
import { FakeMachine } from './supervisor.js';

export const IMAGE_ID: Digest = digestOf('image');
const DIFF_ID: Digest = digestOf('layer');

/** A network that only remembers who is attached. */
export class FakeNetwork implements PodNetwork {
  readonly attached = new Set<string>();
  failure: Error | undefined;

  async attach(sandboxId: string) {
    if (this.failure !== undefined) throw this.failure;
    this.attached.add(sandboxId);
    return { ip: '10.88.0.2', additionalIps: [] };
  }

  async detach(sandboxId: string) {
    this.attached.delete(sandboxId);
  }

  async collect(isLive: (id: string) => boolean) {
    for (const id of [...this.attached]) if (!isLive(id)) this.attached.delete(id);
  }

  async status() {
    return NETWORK_READY;
  }
}

/** One engine's sandboxes and containers over a machine of fakes. */
export interface FakeEngine {
  readonly sandboxes: SandboxService;
  readonly containers: ContainerService;
  readonly events: ContainerEvents;
  readonly sandboxRecords: Collection<SandboxRecord>;
  readonly containerRecords: Collection<ContainerRecord>;
  recover(options?: { readonly adopt?: boolean }): Promise<RecoverReport>;
  /** As the end of the process: connections close, nothing else happens. */
  close(): Promise<void>;
}

/** A root directory, a machine and a network; several engines may be opened on them, one after the other or beside each other. */
export class EngineRig {
  readonly machine = new FakeMachine();
  readonly network = new FakeNetwork();
  readonly directory: string;
  readonly #store: RecordStore;
  readonly #engines: FakeEngine[] = [];
  #fd: number | undefined;

  private constructor(directory: string) {
    this.directory = directory;
    this.#store = RecordStore.open(join(directory, 'root', 'meta'));
  }

  static async open(directory?: string): Promise<EngineRig> {
    return new EngineRig(directory ?? (await mkdtemp(join(tmpdir(), 'cais-rig-'))));
  }

  engine(): FakeEngine {
    const config = loadConfig({
      root: join(this.directory, 'root'),
      run: join(this.directory, 'run'),
      cgroupParent: 'cais-fake',
    });
    const { native } = this.machine;
    const events = new ContainerEvents();
    const sandboxRecords = events.sandboxes(this.#store.collection<SandboxRecord>('sandboxes'));
    const containerRecords = events.containers(
      this.#store.collection<ContainerRecord>('containers'),
    );
    const sandboxes = new SandboxService({
      handlers: new RuntimeHandlers({ config, nativeFeatures: NO_FEATURES }),
      config,
      native,
      network: this.network,
      sandboxes: sandboxRecords,
      supervisorPath: '/nowhere/cais-supervisor',
      openFiles: { soft: 1024, hard: 4096 },
    });
    const snapshotter = new Snapshotter({
      ...config,
      native: {
        mountOverlay: async () => openSync('/', 'r'),
        removeTree: (path) => rm(path, { recursive: true, force: true }),
        treeUsage: async () => ({ bytes: 0, inodes: 0 }),
      },
      layers: {
        lowerOf: async () => [{ fd: this.#layerFd() }],
      },
      supervisorPath: '/nowhere/cais-supervisor',
    });
    const containers = new ContainerService({
      config,
      native,
      containers: containerRecords,
      sandboxes,
      snapshotter,
      images: {
        resolve: (image) =>
          image === IMAGE_ID
            ? {
                id: IMAGE_ID,
                layers: [{ diffId: DIFF_ID }],
                config: {
                  user: '',
                  env: [],
                  entrypoint: ['/bin/true'],
                  cmd: [],
                  workingDirectory: '',
                  stopSignal: '',
                },
              }
            : undefined,
      },
      seccomp: { filter: async () => new Uint8Array(8), profile: async () => ({}) },
      openFiles: { soft: 1024, hard: 4096 },
      hostCapabilities: (1n << 41n) - 1n,
    });
    const engine: FakeEngine = {
      sandboxes,
      containers,
      events,
      sandboxRecords,
      containerRecords,
      recover: ({ adopt = true } = {}) =>
        recover({
          config,
          sandboxes,
          containers,
          containerRecords,
          snapshotter,
          network: this.network,
          adopt,
        }),
      close: async () => {
        containers.close();
        await sandboxes.close();
        await snapshotter.close();
      },
    };
    this.#engines.push(engine);
    return engine;
  }

  /** What is left on this machine and below its root, apart from records; empty when nothing is. */
  async leftovers(): Promise<string[]> {
    const paths = statePaths({
      root: join(this.directory, 'root'),
      run: join(this.directory, 'run'),
    });
    const names = async (path: string) =>
      (await readdir(path).catch(() => [])).map((name) => join(path, name));
    return [
      ...this.machine.cgroups.keys(),
      ...[...this.network.attached].map((id) => `address of ${id}`),
      ...[...this.machine.supervisors.values()]
        .filter(({ isDead }) => !isDead)
        .map(({ id }) => `supervisor of ${id}`),
      ...(await names(paths.run)),
      ...(await names(paths.active)),
      ...(await names(paths.trash)),
    ];
  }

  async close(): Promise<void> {
    for (const engine of this.#engines) await engine.close();
    await this.machine.close();
    await this.#store.close();
    if (this.#fd !== undefined) closeSync(this.#fd);
    await rm(this.directory, { recursive: true, force: true });
  }

  #layerFd(): number {
    this.#fd ??= openSync(this.directory, 'r');
    return this.#fd;
  }

  sandboxConfig(changes: Partial<SandboxConfig> = {}): SandboxConfig {
    return {
      name: 'web',
      namespace: 'default',
      uid: 'uid-1',
      attempt: 0,
      hostname: 'web',
      labels: {},
      annotations: {},
      logDirectory: join(this.directory, 'logs'),
      dns: { servers: ['10.0.0.1'], searches: [] },
      hostNetwork: false,
      hostPid: false,
      hostIpc: false,
      shareProcessNamespace: false,
      onOwnerExit: 'keep',
      ...changes,
    };
  }

  containerConfig(changes: Partial<ContainerConfig> = {}): ContainerConfig {
    return {
      name: 'app',
      attempt: 0,
      image: IMAGE_ID,
      env: [],
      mounts: [],
      resources: {},
      security: {
        privileged: false,
        readOnlyRootFilesystem: false,
        noNewPrivileges: true,
        addCapabilities: [],
        dropCapabilities: [],
        seccomp: 'default',
      },
      terminal: false,
      stdin: false,
      stdinOnce: false,
      logPath: 'app/0.log',
      labels: {},
      annotations: {},
      ...changes,
    };
  }
}
