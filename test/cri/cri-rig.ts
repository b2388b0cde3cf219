import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import { busyboxTar } from '../../scripts/busybox-tar.mjs';
import type { LoopbackRegistry } from '../../scripts/loopback-registry.mjs';
import { pushOciLayout } from '../../scripts/oci-layout.mjs';
import type { FinishedCall } from '../../src/cri/call-log.js';
import type { CriEngine } from '../../src/cri/cri-engine.js';
import {
  type ContainerConfig,
  ContainerConfig as ContainerConfigMessage,
  type DeepPartial,
  ImageServiceClient,
  NamespaceMode,
  type PodSandboxConfig,
  PodSandboxConfig as PodSandboxConfigMessage,
  RuntimeServiceClient,
} from '../../src/cri/generated/api.js';
import { CriServer } from '../../src/cri/server.js';
import { Engine } from '../../src/engine.js';
import { startRegistry } from '../fixtures/docker-registry.js';
import { expectNoLeaks } from '../fixtures/leak-check.js';
import { writeImage } from '../fixtures/oci-image.js';
import { PromiseClient } from './promise-client.js';

/** The real engine on a private root behind a CRI socket, a client of it, and a registry with a busybox image. */
export class CriRig {
  readonly directory = mkdtempSync(join(tmpdir(), 'cais-cri-'));
  /** Reference of a busybox image that runs `sh`. */
  readonly image: string;
  /** What the server said of every answered call. */
  readonly calls: FinishedCall[] = [];
  engine!: Engine;
  server!: CriServer;
  runtime!: PromiseClient<RuntimeServiceClient>;
  images!: PromiseClient<ImageServiceClient>;
  readonly #registry: LoopbackRegistry;

  private constructor(registry: LoopbackRegistry) {
    this.#registry = registry;
    this.image = `${registry.host}/test/busybox:latest`;
  }

  static async open(): Promise<CriRig> {
    const rig = new CriRig(await startRegistry());
    await rig.publish('busybox');
    await rig.start();
    return rig;
  }

  /** Puts an image into the registry. @returns its reference. */
  async publish(name: string, config: object = {}): Promise<string> {
    const layout = writeImage(join(this.directory, 'images', name), {
      layers: [{ tar: busyboxTar(), compression: 'gzip' }],
      config: { Cmd: ['sh'], Env: ['PATH=/bin'], ...config },
    });
    const { url, host } = this.#registry;
    await pushOciLayout(layout, { registryUrl: url, repository: `test/${name}` });
    return `${host}/test/${name}:latest`;
  }

  get socketPath(): string {
    return join(this.directory, 'cri.sock');
  }

  get logDirectory(): string {
    return join(this.directory, 'pod-logs');
  }

  /** As `cais serve` starts. */
  async start(): Promise<void> {
    const { root, run, cgroupParent } = this;
    this.engine = await Engine.open({ root, run, cgroupParent, adopt: true });
    await this.serve();
  }

  async serve(engine: CriEngine = this.engine): Promise<void> {
    this.server = await CriServer.start({
      engine,
      socketPath: this.socketPath,
      streaming: {
        execUrl: ({ containerId, command }) => `http://fake/exec/${containerId}/${command.join()}`,
        attachUrl: ({ containerId }) => `http://fake/attach/${containerId}`,
        portForwardUrl: ({ sandboxId, ports }) =>
          `http://fake/forward/${sandboxId}/${ports.join()}`,
      },
      onCall: (call) => this.calls.push(call),
    });
    const insecure = credentials.createInsecure();
    const address = `unix:${this.socketPath}`;
    this.runtime = new PromiseClient(new RuntimeServiceClient(address, insecure));
    this.images = new PromiseClient(new ImageServiceClient(address, insecure));
  }

  /** As `cais serve` stops: pods go on. */
  async stop(): Promise<void> {
    this.runtime.client.close();
    this.images.client.close();
    await this.server.close();
    await this.engine.close();
  }

  get root(): string {
    return join(this.directory, 'root');
  }

  get run(): string {
    return join(this.directory, 'run');
  }

  get cgroupParent(): string {
    return `cais-${this.directory.slice(-6)}`;
  }

  sandboxConfig(name: string, changes: DeepPartial<PodSandboxConfig> = {}): PodSandboxConfig {
    return PodSandboxConfigMessage.fromPartial({
      metadata: { name, uid: `uid-${name}`, namespace: 'default', attempt: 0 },
      hostname: name,
      logDirectory: join(this.logDirectory, name),
      labels: { app: name },
      annotations: { note: 'kept' },
      dnsConfig: { servers: ['10.96.0.10'], searches: ['svc.cluster.local'], options: [] },
      linux: {
        securityContext: {
          namespaceOptions: { pid: NamespaceMode.CONTAINER },
        },
      },
      ...changes,
    });
  }

  containerConfig(name: string, changes: DeepPartial<ContainerConfig> = {}): ContainerConfig {
    return ContainerConfigMessage.fromPartial({
      metadata: { name, attempt: 0 },
      image: { image: this.image, userSpecifiedImage: this.image },
      command: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.1; done'],
      labels: { container: name },
      annotations: { 'io.kubernetes.container.hash': 'abc' },
      logPath: `${name}/0.log`,
      linux: {
        resources: {
          oomScoreAdj: 999n,
          hugepageLimits: [
            { pageSize: '2MB', limit: 0n },
            { pageSize: '1GB', limit: 0n },
          ],
        },
        securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } },
      },
      ...changes,
    });
  }

  /** Runs a sandbox. @returns its id. */
  async runSandbox(name: string, changes: DeepPartial<PodSandboxConfig> = {}): Promise<string> {
    const config = this.sandboxConfig(name, changes);
    const { podSandboxId } = await this.runtime.call('runPodSandbox', {
      config,
      runtimeHandler: '',
    });
    return podSandboxId;
  }

  /** Makes a container in a sandbox. @returns its id. */
  async createContainer(
    podSandboxId: string,
    name: string,
    changes: DeepPartial<ContainerConfig> = {},
  ): Promise<string> {
    const config = this.containerConfig(name, changes);
    const sandboxConfig = undefined;
    const request = { podSandboxId, config, sandboxConfig };
    const { containerId } = await this.runtime.call('createContainer', request);
    return containerId;
  }

  async pull(image = this.image): Promise<string> {
    const { imageRef } = await this.images.call('pullImage', {
      image: { image, annotations: {}, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' },
      auth: undefined,
      sandboxConfig: undefined,
    });
    return imageRef;
  }

  /** Removes everything and checks that nothing is left. */
  async close(): Promise<void> {
    const { root, run, cgroupParent } = this;
    try {
      this.runtime.client.close();
      this.images.client.close();
      await this.server.close();
      await this.engine.reset();
      await expectNoLeaks({ root, run, cgroupParent });
    } finally {
      await this.#registry.stop();
      rmSync(this.directory, { recursive: true, force: true });
    }
  }
}
