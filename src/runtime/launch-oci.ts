import type { RecordWriter } from './record-codec.js';

/** The external OCI runtime that runs a container, and its bundle. */
export interface LaunchOci {
  /** Absolute path. */
  readonly program: string;
  readonly options: readonly string[];
  /** Where the runtime keeps its state. */
  readonly root: string;
  /** Directory with config.json; the container's root is mounted at `rootfs` in it. */
  readonly bundle: string;
  /** Put at paths in the bundle, for the runtime's eyes alone. */
  readonly mounts: readonly {
    readonly path: string;
    /** Index among the frame's descriptors of a detached mount; absent: the sandbox's shared memory. */
    readonly sourceFd?: number;
    /** What of it: relative, resolved in it. */
    readonly subPath?: string;
  }[];
}

/** Writes the fields 55 to 59 of a LaunchSpec. @see native/supervisor/PROTOCOL.md, "LaunchSpec" */
export function encodeOci(writer: RecordWriter, oci: LaunchOci): void {
  writer.string(55, oci.program);
  for (const option of oci.options) writer.string(56, option);
  writer.string(57, oci.root).string(58, oci.bundle);
  for (const { path, sourceFd, subPath } of oci.mounts) {
    writer.nested(59, (inner) => {
      inner.string(1, path);
      if (sourceFd !== undefined) inner.number(2, sourceFd + 1);
      if (subPath !== undefined) inner.string(3, subPath);
    });
  }
}
