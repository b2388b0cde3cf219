import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { busyboxTar } from '../../scripts/busybox-tar.mjs';
import type { LoopbackRegistry } from '../../scripts/loopback-registry.mjs';
import { pushOciLayout } from '../../scripts/oci-layout.mjs';
import { startRegistry } from '../fixtures/docker-registry.js';
import { expectNoLeaks } from '../fixtures/leak-check.js';
import { writeImage } from '../fixtures/oci-image.js';

export const CAIS = join(import.meta.dirname, '../../bin/cais');

/** What a run of `bin/cais` came to. */
export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A private root with an image in a registry on loopback, and `bin/cais` on it. */
export class CliFixture {
  readonly directory = mkdtempSync(join(tmpdir(), 'cais-cli-'));
  /** Reference of a busybox image with ENTRYPOINT-less `sh` and ENV `FROM_IMAGE=yes`. */
  readonly image: string;
  readonly #registry: LoopbackRegistry;

  private constructor(registry: LoopbackRegistry) {
    this.#registry = registry;
    this.image = `${registry.host}/test/busybox:latest`;
  }

  static async open(): Promise<CliFixture> {
    const registry = await startRegistry();
    const fixture = new CliFixture(registry);
    await fixture.publish('busybox', {});
    return fixture;
  }

  /** Puts a busybox image with further `config` into the registry. @returns its reference. */
  async publish(name: string, config: object): Promise<string> {
    const layout = writeImage(join(this.directory, name), {
      layers: [{ tar: busyboxTar(), compression: 'gzip' }],
      config: { Cmd: ['sh'], Env: ['PATH=/bin', 'FROM_IMAGE=yes'], ...config },
    });
    const { url, host } = this.#registry;
    await pushOciLayout(layout, { registryUrl: url, repository: `test/${name}` });
    return `${host}/test/${name}:latest`;
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

  get environment(): NodeJS.ProcessEnv {
    return {
      ...process.env,
      CAIS_ROOT: this.root,
      CAIS_RUN: this.run,
      CAIS_CGROUP_PARENT: this.cgroupParent,
      SECRET_OF_THE_CALLER: 'x',
    };
  }

  /** Writes a manifest with `spec` and returns its path. */
  manifest(spec: object, name = 'web'): string {
    const path = join(this.directory, `${name}.yaml`);
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name, labels: { app: 'x' } }, spec };
    writeFileSync(path, JSON.stringify(pod));
    return path;
  }

  /** A manifest whose only container runs `script`. */
  script(script: string, container: object = {}, spec: object = {}): string {
    const command = ['sh', '-c', script];
    return this.manifest({
      terminationGracePeriodSeconds: 2,
      containers: [{ name: 'app', image: this.image, command, ...container }],
      ...spec,
    });
  }

  start(...args: readonly string[]): ChildProcess {
    return spawn(CAIS, args, { env: this.environment, stdio: ['ignore', 'pipe', 'pipe'] });
  }

  async cais(...args: readonly string[]): Promise<CliResult> {
    return finished(this.start(...args));
  }

  /** Nothing of a pod is left: no process, mount, cgroup, link, file. */
  expectNoLeaks(): Promise<void> {
    const { root, run, cgroupParent } = this;
    return expectNoLeaks({ root, run, cgroupParent });
  }

  async close(): Promise<void> {
    try {
      await this.cais('reset', '--force');
      await this.expectNoLeaks();
      expect([this.root, this.run].filter((path) => existsSync(path))).toEqual([]);
    } finally {
      await this.#registry.stop();
      rmSync(this.directory, { recursive: true, force: true });
    }
  }
}

/** Collects what a process writes until it ends. */
export async function finished(child: ChildProcess): Promise<CliResult> {
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (exitCode) => resolve(exitCode));
  });
  return { code, stdout, stderr };
}

/** Waits until a process has written `text` to its standard output. */
export function written(child: ChildProcess, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let seen = '';
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      seen += chunk;
      if (seen.includes(text)) resolve();
    });
    child.once('close', () =>
      reject(new Error(`ended without writing ${JSON.stringify(text)}: ${seen}`)),
    );
  });
}
