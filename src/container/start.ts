import { open } from 'node:fs/promises';
import { hostname } from 'node:os';
import { FailedPreconditionError } from '../errors.js';
import { Rollback } from '../rollback.js';
import { type LaunchFile, lowerToLaunchSpec } from '../runtime/launch-spec.js';
import { cgroupResources } from '../runtime/resources.js';
import { usesSeccomp } from '../runtime/security.js';
import type { SupervisorClient } from '../runtime/supervisor.js';
import type { Started } from '../runtime/supervisor-answers.js';
import { SupervisorRefusedError } from '../runtime/supervisor-errors.js';
import { resolvConf } from '../sandbox/dns.js';
import { hostsFile } from '../sandbox/hosts-file.js';
import type { SandboxRecord } from '../sandbox/sandbox-record.js';
import { NO_TELEMETRY } from '../telemetry.js';
import type { ContainerParts } from './container-parts.js';
import { sharesProcessNamespace } from './create.js';
import { withImageMounts } from './image-mounts.js';
import { OCI_START_TIMEOUT_MS, ociLaunch, removeOciContainer } from './oci-container.js';
import type { ContainerRecord } from './state.js';

/** Bound of the node's own /etc/hosts and /etc/resolv.conf. */
const NODE_FILE_MAX_BYTES = 2 ** 20;

export interface StartOptions {
  readonly record: ContainerRecord;
  readonly sandbox: SandboxRecord;
  readonly client: SupervisorClient;
  /** The container's root as a detached mount. */
  readonly rootFd: number;
  readonly signal?: AbortSignal;
}

/**
 * Starts a created container: its cgroup, then one START frame with the root's descriptor. A failed start leaves no cgroup.
 * @throws StartError naming the step that failed in the container.
 */
export function startContainer(parts: ContainerParts, options: StartOptions): Promise<Started> {
  const { telemetry = NO_TELEMETRY } = parts;
  const { id, config } = options.record;
  const about = { attributes: { container: config.name, containerId: id } };
  return telemetry.observe('container.start', about, () => launchContainer(parts, options));
}

async function launchContainer(parts: ContainerParts, options: StartOptions): Promise<Started> {
  const { record, sandbox, client, rootFd, signal } = options;
  const { spec, config } = record;
  if (spec === undefined) throw new FailedPreconditionError('The container was never finished');
  const { logDirectory } = sandbox.config;
  const files = await containerFiles(sandbox);
  // An OCI runtime compiles the profile in its configuration.
  const seccomp =
    usesSeccomp(config.security) && record.oci === undefined
      ? await parts.seccomp.filter(
          config.security.seccomp === 'unconfined' ? 'default' : config.security.seccomp,
          spec.process.capabilities.bounding,
        )
      : undefined;
  if (sharesProcessNamespace(sandbox, config)) await startPause(parts, options);
  const rollback = new Rollback();
  try {
    rollback.add('cgroup', async () => {
      await parts.native.killCgroup(record.cgroup, 10_000);
      await parts.native.removeCgroup(record.cgroup);
    });
    const cgroups = await parts.native.createCgroup(
      record.cgroup,
      cgroupResources(spec.linux.resources),
    );
    const native = lowerToLaunchSpec(spec, {
      id: record.id,
      cgroups,
      ...(config.logPath === undefined || logDirectory === undefined
        ? {}
        : { log: { directory: logDirectory, path: config.logPath } }),
      stdin: config.stdin ? (config.stdinOnce ? 'pipeOnce' : 'pipe') : 'null',
      files,
      ...(seccomp === undefined ? {} : { seccomp }),
      stopSignal: record.stopSignal,
      ...(config.processNamespaceOf === undefined ? {} : { pidTarget: config.processNamespaceOf }),
      directories: record.imageVolumes ?? [],
      imageMounts: record.mountedImages ?? [],
    });
    const what = {
      what: `container "${config.name}"`,
      ...(signal === undefined ? {} : { signal }),
    };
    return await withImageMounts(parts, { record, sandbox }, async (imageFds) => {
      const fds = [rootFd, ...imageFds];
      if (record.oci === undefined) return client.start(native, { ...what, fds });
      rollback.add('OCI container', () => removeOciContainer(parts.config, record));
      const launch = await ociLaunch(parts, {
        record,
        client,
        launch: native,
        files,
        pidNamespaceOf: config.processNamespaceOf ?? pauseId(sandbox.id),
        imageMounts: record.mountedImages ?? [],
      });
      return client.start(launch, { ...what, fds, timeoutMs: OCI_START_TIMEOUT_MS });
    });
  } catch (error) {
    throw await rollback.run(error);
  }
}

/** Id of the process that holds a shared pid namespace. */
export function pauseId(sandboxId: string): string {
  return `${sandboxId}-pause`;
}

/** Starts the pause process of a pod that shares its pid namespace; one that runs already is success. */
async function startPause(parts: ContainerParts, { sandbox, client }: StartOptions): Promise<void> {
  const id = pauseId(sandbox.id);
  const { containers } = await client.status();
  if (containers.some((container) => container.id === id)) return;
  const cgroups = await parts.native.createCgroup(`${sandbox.cgroup}/pause`, {});
  try {
    await client.start(
      {
        id,
        kind: 'pause',
        arguments: ['pause'],
        environment: [],
        uid: 0,
        gid: 0,
        cgroups,
        pidNamespace: 'own',
        noNewPrivileges: true,
      },
      { what: 'the pause process', fds: [] },
    );
  } catch (error) {
    // Two containers of the pod were started at the same time.
    if (error instanceof SupervisorRefusedError && error.errnoCode === 'EEXIST') return;
    if ((error as { errnoCode?: string }).errnoCode === 'EEXIST') return;
    throw error;
  }
}

/** /etc/hosts, /etc/resolv.conf and /etc/hostname, made anew for each start. */
async function containerFiles(sandbox: SandboxRecord): Promise<LaunchFile[]> {
  const { config, ip } = sandbox;
  const name = config.hostNetwork ? hostname() : config.hostname;
  const hosts = hostsFile({
    hostname: name,
    ip,
    hostAliases: config.hostAliases ?? [],
    ...(config.hostNetwork ? { nodeFile: await readNodeFile('/etc/hosts') } : {}),
  });
  const resolv = resolvConf(
    config.dns,
    config.dns === undefined ? await readNodeFile('/etc/resolv.conf') : '',
  );
  return [
    { destination: '/etc/hosts', content: hosts, mode: 0o644 },
    { destination: '/etc/resolv.conf', content: resolv, mode: 0o644 },
    { destination: '/etc/hostname', content: `${name}\n`, mode: 0o644 },
  ];
}

async function readNodeFile(path: string): Promise<string> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
  try {
    const buffer = Buffer.alloc(NODE_FILE_MAX_BYTES);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}
