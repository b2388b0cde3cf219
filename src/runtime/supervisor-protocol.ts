import { encodeOci, type LaunchOci } from './launch-oci.js';
import { RecordWriter } from './record-codec.js';
import type { IdMapping } from './sandbox-config.js';

/**
 * Numbers and messages of the supervisor protocol. `native/supervisor/protocol.h` holds the same numbers; a test compares the files.
 * @see native/supervisor/PROTOCOL.md
 */

export const PROTOCOL_VERSION = 1;

/** Types of frames. */
export const FrameType = {
  HELLO: 1,
  WELCOME: 2,
  STATUS: 3,
  STATUS_ANSWER: 4,
  STOP: 5,
  GIVE_DESCRIPTORS: 6,
  DESCRIPTORS: 7,
  START: 8,
  STARTED: 9,
  FAILED: 10,
  EXITED: 11,
  OK: 12,
  REOPEN_LOG: 13,
  RESIZE: 14,
  ATTACH: 15,
  KEEP: 16,
  FORGET: 17,
  SHUTDOWN: 18,
} as const;

export const LaunchKind = { container: 0, exec: 1, pause: 2 } as const;
export const ContainerState = { created: 1, running: 2, exited: 3 } as const;
export const StdinMode = { null: 0, pipe: 1, pipeOnce: 2 } as const;
export const PidNamespace = { own: 0, pod: 1, host: 2, target: 3 } as const;
export const OnOwnerExit = { keep: 0, kill: 1 } as const;

type Named<T> = { readonly [K in keyof T]: K }[keyof T];

/** How a supervisor is started; fd 0 of `cais-supervisor sandbox`. */
export interface SandboxSpec {
  readonly id: string;
  /** Absolute; made (0700) when absent. */
  readonly runDirectory: string;
  /** Namespaces of its own; the others are those of the caller. */
  readonly namespaces: readonly ('net' | 'ipc' | 'uts')[];
  /** Needs `uts`. */
  readonly hostname?: string;
  /** `net.ipv4.ip_unprivileged_port_start` to its value; only what belongs to one of `namespaces` is accepted. */
  readonly sysctls?: Readonly<Record<string, string>>;
  /** Absolute directories that the supervisor joins. */
  readonly supervisorCgroups: readonly string[];
  readonly openFiles?: { readonly soft: number; readonly hard: number };
  readonly onOwnerExit: Named<typeof OnOwnerExit>;
  /** Absolute directories of the sandbox in every hierarchy: killed and removed after a dead owner that wanted `kill`. */
  readonly sandboxCgroups: readonly string[];
  /** Size of the /dev/shm that the sandbox's containers share; absent: 64 MiB. */
  readonly shmSizeBytes?: number;
  /** A user namespace of the sandbox's own, which owns its other namespaces. */
  readonly userNamespace?: IdMaps;
}

/** Ranges of the ids of a user namespace. */
export interface IdMaps {
  readonly uids: readonly IdMapping[];
  readonly gids: readonly IdMapping[];
}

export function encodeSandboxSpec(spec: SandboxSpec): Uint8Array {
  const writer = new RecordWriter();
  writer.string(1, spec.id).string(2, spec.runDirectory);
  for (const namespace of spec.namespaces) writer.string(3, namespace);
  if (spec.hostname !== undefined) writer.string(4, spec.hostname);
  for (const [key, value] of Object.entries(spec.sysctls ?? {})) {
    writer.nested(5, (sysctl) => sysctl.string(1, key).string(2, value));
  }
  for (const directory of spec.supervisorCgroups) writer.string(6, directory);
  if (spec.openFiles !== undefined) {
    writer.number(7, spec.openFiles.soft).number(8, spec.openFiles.hard);
  }
  writer.number(9, OnOwnerExit[spec.onOwnerExit]);
  for (const directory of spec.sandboxCgroups) writer.string(10, directory);
  if (spec.shmSizeBytes !== undefined) writer.number(11, spec.shmSizeBytes);
  for (const range of spec.userNamespace?.uids ?? []) writer.bytes(12, encodeIdRange(range));
  for (const range of spec.userNamespace?.gids ?? []) writer.bytes(13, encodeIdRange(range));
  return writer.finish();
}

function encodeIdRange({ containerId, hostId, length }: IdMapping): Buffer {
  return new RecordWriter().number(1, containerId).number(2, hostId).number(3, length).finish();
}

/** A mount inside the container; see PROTOCOL.md, LaunchSpec field 18. */
export interface LaunchMount {
  readonly type: 'bind' | 'proc' | 'sysfs' | 'tmpfs' | 'devpts' | 'mqueue' | 'cgroup' | 'shm';
  readonly destination: string;
  /** For `bind` without `sourceFd`: absolute host path. */
  readonly source?: string;
  /** MS_* bits. MS_REC makes a bind recursive. */
  readonly flags?: number;
  /** MS_PRIVATE, MS_SLAVE, MS_SHARED or MS_UNBINDABLE, with MS_REC or not; absent: private. */
  readonly propagation?: number;
  /** Options of the file system, `a=b,c`. */
  readonly data?: string;
  readonly recursiveReadonly?: boolean;
  /** Index among the frame's descriptors of what to bind: a file, a directory or a detached mount. */
  readonly sourceFd?: number;
  /** For `bind`: the ids of its files as they are seen. */
  readonly idMaps?: IdMaps;
  /** What of `sourceFd`, a detached mount, to bind: relative, resolved in it. */
  readonly subPath?: string;
}

export interface LaunchDevice {
  readonly path: string;
  readonly type: 'c' | 'b';
  readonly major: number;
  readonly minor: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** A container, an exec or the pause process, as `container_init` makes it. Descriptors are indices among those of the START frame. */
export interface LaunchSpec {
  readonly id: string;
  readonly kind: Named<typeof LaunchKind>;
  readonly arguments: readonly string[];
  /** `NAME=value`, the whole environment. */
  readonly environment: readonly string[];
  readonly workingDirectory?: string;
  readonly terminal?: boolean;
  readonly windowSize?: { readonly rows: number; readonly columns: number };
  readonly stdin?: Named<typeof StdinMode>;
  /** The descriptors behind the root's (and behind those of mounts) are stdin, stdout, stderr, or one terminal slave. */
  readonly stdioFds?: boolean;
  readonly log?: { readonly directory: string; readonly path: string };
  readonly uid: number;
  readonly gid: number;
  readonly groups?: readonly number[];
  /** Absent: 0022. */
  readonly umask?: number;
  readonly rootReadonly?: boolean;
  readonly mounts?: readonly LaunchMount[];
  readonly devices?: readonly LaunchDevice[];
  readonly maskedPaths?: readonly string[];
  readonly readonlyPaths?: readonly string[];
  /** `resource` is an RLIMIT_* number; -1: infinity. */
  readonly rlimits?: readonly {
    readonly resource: number;
    readonly soft: number | bigint;
    readonly hard: number | bigint;
  }[];
  readonly oomScoreAdj?: number;
  /** Bit masks (1 << CAP_*). An absent record means no capability at all. */
  readonly capabilities?: {
    readonly bounding: bigint;
    readonly effective: bigint;
    readonly permitted: bigint;
    readonly inheritable: bigint;
    readonly ambient: bigint;
  };
  readonly noNewPrivileges?: boolean;
  /** `struct sock_filter` array of `compileSeccomp`. */
  readonly seccomp?: { readonly filter: Uint8Array; readonly flags: number };
  /** Absolute directories, one each hierarchy. */
  readonly cgroups?: readonly string[];
  readonly pidNamespace?: Named<typeof PidNamespace>;
  /** Container whose pid namespace is joined, for `target`. */
  readonly pidTarget?: string;
  /** Container that an exec joins. */
  readonly execTarget?: string;
  /** Index of the detached root mount. */
  readonly rootFd?: number;
  readonly personality?: number;
  readonly files?: readonly {
    readonly destination: string;
    readonly content: string | Uint8Array;
    readonly mode: number;
  }[];
  /** Made when absent. */
  readonly directories?: readonly string[];
  /** Signal of SHUTDOWN before SIGKILL; absent: SIGTERM. */
  readonly stopSignal?: number;
  /** Of an exec: its record is dropped as soon as its end has been told, without FORGET. */
  readonly forgetOnExit?: boolean;
  /** Of an exec: it lives in a cgroup of its own inside the container's, so that SIGKILL reaches every descendant. */
  readonly ownCgroup?: boolean;
  /** Of an exec with a terminal: the frame's last descriptor is a stream socket that carries the terminal's bytes both ways; see PROTOCOL.md. */
  readonly terminalClient?: boolean;
  /** Loaded AppArmor profile that the program is confined by. */
  readonly appArmorProfile?: string;
  /** Absent: the supervisor makes the container itself. An exec goes the way of its container. */
  readonly oci?: LaunchOci;
}

export function encodeLaunchSpec(spec: LaunchSpec): Uint8Array {
  const writer = new RecordWriter();
  const text = (tag: number, value: string | undefined) => {
    if (value !== undefined) writer.string(tag, value);
  };
  const number = (tag: number, value: number | bigint | undefined) => {
    if (value !== undefined) writer.number(tag, value);
  };
  const flag = (tag: number, value: boolean | undefined) => {
    if (value === true) writer.boolean(tag, value);
  };
  const texts = (tag: number, values: readonly string[] | undefined) => {
    for (const value of values ?? []) writer.string(tag, value);
  };
  text(1, spec.id);
  number(2, LaunchKind[spec.kind]);
  texts(3, spec.arguments);
  texts(4, spec.environment);
  text(5, spec.workingDirectory);
  flag(6, spec.terminal);
  number(7, spec.windowSize?.rows);
  number(8, spec.windowSize?.columns);
  number(9, StdinMode[spec.stdin ?? 'null']);
  flag(10, spec.stdioFds);
  text(11, spec.log?.directory);
  text(12, spec.log?.path);
  number(13, spec.uid);
  number(14, spec.gid);
  for (const group of spec.groups ?? []) writer.number(15, group);
  number(16, spec.umask);
  flag(17, spec.rootReadonly);
  for (const mount of spec.mounts ?? []) writer.bytes(18, encodeMount(mount));
  for (const device of spec.devices ?? []) {
    writer.nested(19, (inner) =>
      inner
        .string(1, device.path)
        .string(2, device.type)
        .number(3, device.major)
        .number(4, device.minor)
        .number(5, device.mode)
        .number(6, device.uid)
        .number(7, device.gid),
    );
  }
  texts(20, spec.maskedPaths);
  texts(21, spec.readonlyPaths);
  for (const { resource, soft, hard } of spec.rlimits ?? []) {
    writer.nested(22, (inner) => inner.number(1, resource).number(2, soft).number(3, hard));
  }
  number(23, spec.oomScoreAdj);
  number(24, spec.capabilities?.bounding);
  number(25, spec.capabilities?.effective);
  number(26, spec.capabilities?.permitted);
  number(27, spec.capabilities?.inheritable);
  number(28, spec.capabilities?.ambient);
  flag(29, spec.noNewPrivileges);
  if (spec.seccomp !== undefined) {
    writer.bytes(30, spec.seccomp.filter).number(31, spec.seccomp.flags);
  }
  texts(32, spec.cgroups);
  number(33, PidNamespace[spec.pidNamespace ?? 'own']);
  text(34, spec.pidTarget);
  text(35, spec.execTarget);
  if (spec.rootFd !== undefined) number(36, spec.rootFd + 1);
  number(37, spec.personality);
  for (const file of spec.files ?? []) {
    const content = typeof file.content === 'string' ? Buffer.from(file.content) : file.content;
    writer.nested(39, (inner) =>
      inner.string(1, file.destination).bytes(2, content).number(3, file.mode),
    );
  }
  number(40, spec.stopSignal);
  texts(41, spec.directories);
  flag(65, spec.forgetOnExit);
  flag(66, spec.ownCgroup);
  flag(67, spec.terminalClient);
  text(42, spec.appArmorProfile);
  if (spec.oci !== undefined) encodeOci(writer, spec.oci);
  return writer.finish();
}

function encodeMount(mount: LaunchMount): Buffer {
  const writer = new RecordWriter().string(1, mount.type).string(2, mount.destination);
  if (mount.source !== undefined) writer.string(3, mount.source);
  if (mount.flags !== undefined) writer.number(4, mount.flags);
  if (mount.propagation !== undefined) writer.number(5, mount.propagation);
  if (mount.data !== undefined) writer.string(6, mount.data);
  if (mount.recursiveReadonly === true) writer.boolean(7, true);
  if (mount.sourceFd !== undefined) writer.number(8, mount.sourceFd + 1);
  for (const range of mount.idMaps?.uids ?? []) writer.bytes(9, encodeIdRange(range));
  for (const range of mount.idMaps?.gids ?? []) writer.bytes(10, encodeIdRange(range));
  if (mount.subPath !== undefined) writer.string(11, mount.subPath);
  return writer.finish();
}

export interface HelloMessage {
  readonly owner: boolean;
  /** Changes the sandbox's rule when present. */
  readonly onOwnerExit?: Named<typeof OnOwnerExit>;
}

export function encodeHello(hello: HelloMessage): Uint8Array {
  const writer = new RecordWriter().number(1, PROTOCOL_VERSION).boolean(2, hello.owner);
  if (hello.onOwnerExit !== undefined) writer.number(3, OnOwnerExit[hello.onOwnerExit]);
  return writer.finish();
}

/** STOP; without an id: every container. */
export function encodeStop(stop: { readonly id?: string; readonly signal: number }): Uint8Array {
  const writer = new RecordWriter();
  if (stop.id !== undefined) writer.string(1, stop.id);
  return writer.number(2, stop.signal).finish();
}

/** Payload of REOPEN_LOG and FORGET. */
export function encodeId(id: string): Uint8Array {
  return new RecordWriter().string(1, id).finish();
}

/** What GIVE_DESCRIPTORS can be asked for; `layers`: mounts kept under the keys. */
export type DescriptorName = 'net' | 'ipc' | 'uts' | 'pid' | 'user' | 'layers';

export function encodeGiveDescriptors(give: {
  readonly what: readonly DescriptorName[];
  readonly keys?: readonly string[];
}): Uint8Array {
  const writer = new RecordWriter();
  for (const name of give.what) writer.string(1, name);
  for (const key of give.keys ?? []) writer.string(2, key);
  return writer.finish();
}

/** Keys of the mounts to keep, one descriptor each. */
export function encodeKeep(keys: readonly string[]): Uint8Array {
  const writer = new RecordWriter();
  for (const key of keys) writer.string(1, key);
  return writer.finish();
}

export function encodeResize(resize: {
  readonly id: string;
  readonly rows: number;
  readonly columns: number;
}): Uint8Array {
  return new RecordWriter()
    .string(1, resize.id)
    .number(2, resize.rows)
    .number(3, resize.columns)
    .finish();
}

/** Which streams of a container an attached client wants. */
export interface AttachMessage {
  readonly id: string;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

export function encodeAttach(attach: AttachMessage): Uint8Array {
  return new RecordWriter()
    .string(1, attach.id)
    .boolean(2, attach.stdin)
    .boolean(3, attach.stdout)
    .boolean(4, attach.stderr)
    .finish();
}

export function encodeShutdown(graceMillis: number): Uint8Array {
  return new RecordWriter().number(1, graceMillis).finish();
}
