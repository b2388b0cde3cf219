import { EventEmitter, once } from 'node:events';
import { appendFile, mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { NotFoundError } from '../../src/errors.js';
import type { PodContainerExit, PodImage, PodServices } from '../../src/pod/services.js';
import type { ContainerConfig } from '../../src/runtime/container-config.js';
import type { SandboxConfig } from '../../src/runtime/sandbox-config.js';

/** How the fake container of a name behaves. */
export interface FakeBehaviour {
  /** Ends by itself with this code as soon as it is started; absent: runs until it is stopped. One per attempt, the last repeats. */
  readonly exitCodes?: readonly number[];
  /** Code after the stop signal; absent: 143. */
  readonly stopCode?: number;
  /** What making and starting it wait for. */
  readonly createAfter?: Promise<void>;
  readonly startAfter?: Promise<void>;
  readonly failCreate?: Error;
  readonly failStart?: Error;
  readonly output?: readonly string[];
  /** Written to the termination message file. */
  readonly lastWords?: string;
}

interface FakeContainer {
  readonly sandboxId: string;
  readonly config: ContainerConfig;
  exit?: PodContainerExit;
  isRunning: boolean;
}

/** Sandboxes, containers and images that exist only in memory; logs are real files. */
export class FakePodServices implements PodServices {
  readonly journal: string[] = [];
  readonly sandboxConfigs = new Map<string, SandboxConfig>();
  readonly containerConfigs: ContainerConfig[] = [];
  readonly stored = new Map<string, PodImage>();
  readonly registry = new Map<string, PodImage>();
  failSandbox: Error | undefined;
  readonly #behaviours: Readonly<Record<string, FakeBehaviour>>;
  readonly #containers = new Map<string, FakeContainer>();
  readonly #events = new EventEmitter().setMaxListeners(100);
  #count = 0;

  constructor(behaviours: Readonly<Record<string, FakeBehaviour>> = {}) {
    this.#behaviours = behaviours;
    this.registry.set('busybox', { id: `sha256:${'0'.repeat(64)}`, sizeBytes: 7, user: '' });
  }

  /** Sandboxes and containers that still exist. */
  get left(): string[] {
    return [...this.sandboxConfigs.keys(), ...this.#containers.keys()];
  }

  readonly images: PodServices['images'] = {
    find: (reference) => this.stored.get(reference),
    pull: async (reference, { signal }) => {
      this.journal.push(`pull ${reference}`);
      signal?.throwIfAborted();
      const image = this.registry.get(reference);
      if (image === undefined) throw new NotFoundError(`manifest of "${reference}" not found`);
      this.stored.set(reference, image);
      return image;
    },
  };

  readonly sandboxes: PodServices['sandboxes'] = {
    run: async (config) => {
      if (this.failSandbox !== undefined) throw this.failSandbox;
      const id = `sandbox-${this.#count++}`;
      this.sandboxConfigs.set(id, config);
      this.journal.push('sandbox');
      return { id, ip: config.hostNetwork ? undefined : '10.88.0.2' };
    },
    remove: async (id) => {
      for (const containerId of this.containers.ofSandbox(id)) this.#containers.delete(containerId);
      this.sandboxConfigs.delete(id);
    },
    ofPod: (uid) =>
      [...this.sandboxConfigs].filter(([, config]) => config.uid === uid).map(([id]) => id),
  };

  readonly containers: PodServices['containers'] = {
    create: async (sandboxId, config) => {
      const { createAfter, failCreate } = this.#behaviours[config.name] ?? {};
      await createAfter;
      if (failCreate !== undefined) throw failCreate;
      const id = `container-${this.#count++}`;
      this.containerConfigs.push(config);
      this.#containers.set(id, { sandboxId, config, isRunning: false });
      return { id };
    },
    start: async (id) => {
      const container = this.#require(id);
      const { name, attempt } = container.config;
      const {
        startAfter,
        failStart,
        exitCodes,
        output = [],
        lastWords = '',
      } = this.#behaviours[name] ?? {};
      await startAfter;
      if (failStart !== undefined) throw failStart;
      this.journal.push(`start ${name}`);
      const path = join(this.#logDirectory(container), container.config.logPath ?? '');
      await mkdir(dirname(path), { recursive: true });
      // The machine's own clock may be set back between two containers, whose logs would then change places.
      const now = performance.timeOrigin + performance.now();
      const time = new Date(now).toISOString().replace('Z', '000000Z');
      await appendFile(path, output.map((line) => `${time} stdout F ${line}\n`).join(''));
      const file = container.config.mounts.find(
        ({ containerPath }) => containerPath === '/dev/termination-log',
      );
      if (file?.type === 'bind') await appendFile(file.hostPath, lastWords);
      container.isRunning = true;
      const code = exitCodes?.[Math.min(attempt, exitCodes.length - 1)];
      if (code !== undefined) setImmediate(() => this.end(id, code));
    },
    stop: async (id, { timeoutMs }) => {
      const container = this.#containers.get(id);
      if (container === undefined || !container.isRunning) return;
      const { name } = container.config;
      this.journal.push(`stop ${name} ${timeoutMs}`);
      this.end(id, timeoutMs === 0 ? 137 : (this.#behaviours[name]?.stopCode ?? 143));
    },
    remove: async (id) => {
      this.#containers.delete(id);
    },
    wait: async (id) => {
      const container = this.#require(id);
      while (container.exit === undefined) await once(this.#events, id);
      return container.exit;
    },
    ofSandbox: (sandboxId) =>
      [...this.#containers].filter(([, one]) => one.sandboxId === sandboxId).map(([id]) => id),
    isRunning: (id) => this.#containers.get(id)?.isRunning ?? false,
    exitOf: (id) => this.#containers.get(id)?.exit,
  };

  removeTree = (path: string) => rm(path, { recursive: true, force: true });

  /** Ends a container by itself. */
  end(id: string, exitCode: number): void {
    const container = this.#containers.get(id);
    if (container === undefined || !container.isRunning) return;
    const now = Date.now();
    this.journal.push(`exit ${container.config.name} ${exitCode}`);
    container.isRunning = false;
    container.exit = { exitCode, oomKilled: false, startedAtMs: now, finishedAtMs: now };
    this.#events.emit(id);
  }

  #require(id: string): FakeContainer {
    const container = this.#containers.get(id);
    if (container === undefined) throw new NotFoundError(`No container "${id}"`);
    return container;
  }

  #logDirectory({ sandboxId }: FakeContainer): string {
    return this.sandboxConfigs.get(sandboxId)?.logDirectory ?? '';
  }
}
