import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UnsupportedError } from '../errors.js';
import type { LaunchOci } from './launch-oci.js';
import type { LaunchFile } from './launch-spec.js';
import { IMAGE_SOURCE } from './mounts.js';
import type { RuntimeSpec, SpecMount, SpecProcess } from './oci-spec.js';

/** What the configuration of one start has beside the container's description. */
export interface BundleOptions {
  /** Absolute; what was there before is replaced. */
  readonly directory: string;
  readonly spec: RuntimeSpec;
  /** As for a start by the supervisor: one whose destination the container mounts itself is left out. */
  readonly files: readonly LaunchFile[];
  /** `linux.seccomp`; absent: no filter. */
  readonly seccomp?: object;
  /** The pid namespace that is joined, where the description names one. */
  readonly pidNamespacePath?: string;
  /** Images that the container mounts: their mounts are the descriptors behind the root's. */
  readonly imageMounts?: readonly { readonly subPath?: string }[];
}

/** An OCI bundle on disk, and what the supervisor mounts in it. */
export interface Bundle {
  readonly directory: string;
  readonly mounts: LaunchOci['mounts'];
}

/**
 * Makes the bundle of a container for an external OCI runtime: config.json, the pod's files, and the empty directory for its root. The mounts
 * are made by the supervisor where only the runtime sees them, so that nothing has to be unmounted, whoever crashes.
 * @throws UnsupportedError for what the OCI configuration cannot say.
 * @see OCI runtime-spec, bundle.md
 */
export async function writeBundle(options: BundleOptions): Promise<Bundle> {
  const { directory } = options;
  await removeBundle(directory);
  await mkdir(join(directory, 'rootfs'), { recursive: true, mode: 0o700 });
  await mkdir(join(directory, 'files'), { mode: 0o700 });
  for (const file of ownFiles(options)) {
    const { content, mode } = file;
    // Not by the mode of the call, from which the umask takes bits away.
    await writeFile(filePath(directory, file), content, { mode });
  }
  const config = JSON.stringify(ociConfig(options));
  await writeFile(join(directory, 'config.json'), config, { mode: 0o600 });
  const shm = join(directory, 'shm');
  const usesShm = options.spec.mounts.some(({ type }) => type === 'shm');
  const images = (options.imageMounts ?? []).map(({ subPath }, index) => ({
    path: imagePath(directory, index),
    sourceFd: FIRST_IMAGE_FD + index,
    ...(subPath === undefined ? {} : { subPath }),
  }));
  return { directory, mounts: [...(usesShm ? [{ path: shm }] : []), ...images] };
}

/** Absent is success. */
export function removeBundle(directory: string): Promise<void> {
  return rm(directory, { recursive: true, force: true });
}

/** Descriptors of a START frame before those of image mounts: the root. */
const FIRST_IMAGE_FD = 1;

const imagePath = (directory: string, index: number) => join(directory, `image${index}`);
const filePath = (directory: string, { destination }: LaunchFile) =>
  join(directory, 'files', destination.replaceAll('/', '_'));

function ownFiles({ spec, files }: BundleOptions): LaunchFile[] {
  const mounted = new Set(spec.mounts.map((mount) => mount.destination));
  return files.filter((file) => !mounted.has(file.destination));
}

/**
 * `config.json`. Annotations stay out of it: they come from whoever wrote the pod, and runtimes take orders by them (`run.oci.…`, hooks).
 * The score for the OOM killer stays out too, since no runtime clamps it: the supervisor starts the runtime with it.
 */
export function ociConfig(options: BundleOptions): object {
  const { spec, directory, seccomp, pidNamespacePath } = options;
  const { linux, process, root, hostname } = spec;
  const files = ownFiles(options).map((file) => ({
    destination: file.destination,
    type: 'bind',
    source: filePath(directory, file),
    options: ['bind', 'rprivate', 'rw'],
  }));
  return {
    // The version whose fields are used, not the newest: crun 1.8 refuses all but 1.0.
    ociVersion: '1.0.2',
    process: ociProcess(process),
    root: { path: join(directory, 'rootfs'), readonly: root.readonly },
    ...(hostname === undefined ? {} : { hostname }),
    mounts: [...spec.mounts.map((mount) => ociMount(mount, directory)), ...files],
    linux: {
      namespaces: linux.namespaces.map((namespace) =>
        namespace.type === 'pid' && namespace.path !== undefined && pidNamespacePath !== undefined
          ? { type: 'pid', path: pidNamespacePath }
          : namespace,
      ),
      devices: linux.devices,
      cgroupsPath: linux.cgroupsPath,
      resources: ociResources(linux.resources),
      sysctl: linux.sysctl,
      ...(seccomp === undefined ? {} : { seccomp }),
      maskedPaths: linux.maskedPaths,
      readonlyPaths: linux.readonlyPaths,
      rootfsPropagation: rootPropagation(spec),
    },
  };
}

function ociProcess({ oomScoreAdj: _, ...process }: SpecProcess): object {
  for (const { type, soft, hard } of process.rlimits) {
    if (soft < 0 || hard < 0) {
      throw new UnsupportedError(`Resource limit "${type}": infinity is no number of JSON`);
    }
  }
  return process;
}

/** The engine has set the cgroup's own files already (`unified`), where the machine has them; some runtimes refuse them on cgroup v1. */
function ociResources({ unified: _, ...resources }: RuntimeSpec['linux']['resources']): object {
  return resources;
}

/** Our types that no other runtime knows become binds of what the supervisor mounts in the bundle. */
function ociMount(mount: SpecMount, directory: string): SpecMount {
  if (mount.type === 'shm') {
    const source = join(directory, 'shm');
    return { ...mount, type: 'bind', source, options: ['bind', 'rprivate', ...mount.options] };
  }
  if (mount.source?.startsWith(IMAGE_SOURCE) === true) {
    const index = Number(mount.source.slice(IMAGE_SOURCE.length));
    return { ...mount, source: imagePath(directory, index) };
  }
  return mount;
}

/** Propagation of a volume ends at the root's: it must be as wide as the widest among them. */
function rootPropagation({ mounts, linux }: RuntimeSpec): string {
  const options = new Set(mounts.flatMap((mount) => mount.options));
  if (options.has('rshared') || linux.rootfsPropagation === 'shared') return 'rshared';
  if (options.has('rslave') || linux.rootfsPropagation === 'slave') return 'rslave';
  return 'rprivate';
}
