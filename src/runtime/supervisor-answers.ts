import { RecordReader } from './record-codec.js';
import { ContainerState, LaunchKind } from './supervisor-protocol.js';

/**
 * What a supervisor answers, taken apart. Every decoder throws ProtocolError when a field is missing or unknown.
 * @see native/supervisor/PROTOCOL.md
 */

export interface Welcome {
  readonly version: number;
  readonly sandboxId: string;
  readonly pid: number;
  readonly bootId: string;
}

export function decodeWelcome(payload: Uint8Array): Welcome {
  const record = new RecordReader(payload);
  const welcome = {
    version: record.number(1) ?? 0,
    sandboxId: record.string(2) ?? '',
    pid: record.number(3) ?? 0,
    bootId: record.string(4) ?? '',
  };
  record.done();
  return welcome;
}

/** Keys of the mounts among the descriptors of a DESCRIPTORS frame. */
export function decodeDescriptors(payload: Uint8Array): { readonly keys: readonly string[] } {
  const record = new RecordReader(payload);
  const keys = record.strings(1);
  record.done();
  return { keys };
}

/** One container, exec or pause process in a {@link SupervisorStatus}. Times are nanoseconds since 1970, 0: not yet. */
export interface ContainerStatus {
  readonly id: string;
  readonly kind: keyof typeof LaunchKind;
  readonly state: keyof typeof ContainerState;
  readonly pid: number;
  readonly startTicks: number;
  readonly exitCode: number;
  readonly signal: number;
  readonly oomKilled: boolean;
  readonly startedAtNanos: bigint;
  readonly finishedAtNanos: bigint;
  /** Log entries lost to write errors (full disk). */
  readonly logEntriesDropped: number;
}

export interface SupervisorStatus {
  readonly containers: readonly ContainerStatus[];
  readonly hasOwner: boolean;
}

export function decodeStatus(payload: Uint8Array): SupervisorStatus {
  const record = new RecordReader(payload);
  const containers = record.records(1).map(decodeContainer);
  const hasOwner = record.boolean(2) ?? false;
  record.done();
  return { containers, hasOwner };
}

function decodeContainer(record: RecordReader): ContainerStatus {
  const status = {
    id: record.string(1) ?? '',
    kind: nameOf(LaunchKind, record.number(2)),
    state: nameOf(ContainerState, record.number(3)),
    pid: record.number(4) ?? 0,
    startTicks: record.number(5) ?? 0,
    exitCode: record.number(6) ?? 0,
    signal: record.number(7) ?? 0,
    oomKilled: record.boolean(8) ?? false,
    startedAtNanos: record.bigint(9) ?? 0n,
    finishedAtNanos: record.bigint(10) ?? 0n,
    logEntriesDropped: record.number(0x8001) ?? 0,
  };
  record.done();
  return status;
}

export interface Started {
  readonly id: string;
  readonly pid: number;
  readonly startTicks: number;
  readonly startedAtNanos: bigint;
}

export function decodeStarted(payload: Uint8Array): Started {
  const record = new RecordReader(payload);
  const started = {
    id: record.string(1) ?? '',
    pid: record.number(2) ?? 0,
    startTicks: record.number(3) ?? 0,
    startedAtNanos: record.bigint(4) ?? 0n,
  };
  record.done();
  return started;
}

/** FAILED, and the same record on descriptor 3 of a supervisor that could not start. `errno` 0: a check of the supervisor's own. */
export interface Failed {
  readonly step: string;
  readonly errno: number;
  readonly path: string;
  readonly message: string;
}

export function decodeFailed(payload: Uint8Array): Failed {
  const record = new RecordReader(payload);
  const failed = {
    step: record.string(1) ?? '',
    errno: record.number(2) ?? 0,
    path: record.string(3) ?? '',
    message: record.string(4) ?? '',
  };
  record.done();
  return failed;
}

export interface Exited {
  readonly id: string;
  readonly exitCode: number;
  readonly signal: number;
  readonly oomKilled: boolean;
  readonly startedAtNanos: bigint;
  readonly finishedAtNanos: bigint;
}

export function decodeExited(payload: Uint8Array): Exited {
  const record = new RecordReader(payload);
  const exited = {
    id: record.string(1) ?? '',
    exitCode: record.number(2) ?? 0,
    signal: record.number(3) ?? 0,
    oomKilled: record.boolean(4) ?? false,
    startedAtNanos: record.bigint(5) ?? 0n,
    finishedAtNanos: record.bigint(6) ?? 0n,
  };
  record.done();
  return exited;
}

function nameOf<T extends Record<string, number>>(
  names: T,
  value: number | undefined,
): keyof T & string {
  const found = Object.entries(names).find(([, number]) => number === value);
  return (found?.[0] ?? String(value)) as keyof T & string;
}
