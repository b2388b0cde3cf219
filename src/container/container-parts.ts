import type { Config } from '../config.js';
import type { Digest } from '../digest.js';
import type { NativeBinding } from '../native.js';
import type { Collection } from '../record-store.js';
import type { OpenFilesLimit } from '../runtime/open-files.js';
import type { ImageProcess } from '../runtime/process-spec.js';
import type { SandboxService } from '../sandbox/sandbox.js';
import type { Snapshotter } from '../snapshot/snapshotter.js';
import type { Telemetry } from '../telemetry.js';
import type { ContainerRecord } from './state.js';

/** What a container needs of an image. */
export interface ContainerImage {
  readonly id: Digest;
  /** Lowest first. */
  readonly layers: readonly { readonly diffId: Digest }[];
  readonly config: ImageProcess & { readonly volumes?: readonly string[] };
}

/** Compiles seccomp profiles and remembers them: one compilation for all containers that ask for the same. */
export interface SeccompFilters {
  /**
   * `struct sock_filter` array of a profile, with the system calls that the capabilities bring.
   * @throws InvalidArgumentError for a profile that cannot be read or compiled.
   */
  filter(
    profile: 'default' | { readonly path: string },
    capabilities: readonly string[],
  ): Promise<Uint8Array>;
  /**
   * The profile as the OCI runtime-spec writes it, for a runtime that compiles by itself.
   * @throws InvalidArgumentError for a profile that cannot be read or compiled.
   */
  profile(
    profile: 'default' | { readonly path: string },
    capabilities: readonly string[],
  ): Promise<object>;
}

/** What the container service works with. */
export interface ContainerParts {
  readonly config: Pick<Config, 'root' | 'run'>;
  readonly native: Pick<
    NativeBinding,
    | 'createCgroup'
    | 'createPipe'
    | 'createSocketPair'
    | 'kindInRoot'
    | 'killCgroup'
    | 'readCgroupStats'
    | 'readFileInRoot'
    | 'removeCgroup'
    | 'setOomScore'
    | 'updateCgroup'
  >;
  readonly containers: Collection<ContainerRecord>;
  readonly sandboxes: SandboxService;
  readonly snapshotter: Pick<Snapshotter, 'prepare' | 'remove' | 'sharedMounts' | 'usage'>;
  readonly images: {
    /** By id or name. */
    resolve(image: string): ContainerImage | undefined;
  };
  readonly seccomp: SeccompFilters;
  /** Where CDI files lie; absent: /etc/cdi and /var/run/cdi. */
  readonly cdiDirectories?: readonly string[];
  readonly openFiles: OpenFilesLimit;
  readonly hostCapabilities: bigint;
  readonly telemetry?: Telemetry;
}
