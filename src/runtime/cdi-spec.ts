import * as v from 'valibot';
import { InvalidArgumentError } from '../errors.js';

/**
 * A file of the Container Device Interface: what a vendor wants done to a container that uses one of his devices.
 * @see CNCF Container Device Interface specification 1.0, SPEC.md
 */
export interface CdiSpec {
  readonly cdiVersion: string;
  /** `vendor.com/class`. */
  readonly kind: string;
  readonly devices: readonly CdiDevice[];
  /** For whoever uses a device of the file. */
  readonly containerEdits: CdiEdits;
}

export interface CdiDevice {
  readonly name: string;
  readonly containerEdits: CdiEdits;
}

export interface CdiEdits {
  /** `NAME=value`. */
  readonly env: readonly string[];
  readonly deviceNodes: readonly CdiDeviceNode[];
  readonly mounts: readonly CdiMount[];
  readonly additionalGids: readonly number[];
  /** Names of what the specification knows and cais does not do (`hooks`, `intelRdt`, `netDevices`). */
  readonly unsupported: readonly string[];
}

export interface CdiDeviceNode {
  readonly path: string;
  /** Absent: `path`. */
  readonly hostPath?: string | undefined;
  /** What is absent is taken from the node on the host. */
  readonly type?: 'b' | 'c' | undefined;
  readonly major?: number | undefined;
  readonly minor?: number | undefined;
  readonly fileMode?: number | undefined;
  readonly permissions: string;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

export interface CdiMount {
  readonly hostPath: string;
  readonly containerPath: string;
  readonly options: readonly string[];
}

const VERSION = /^v?(0\.[3-8]|1\.0)\.[0-9]{1,3}$/;
const VENDOR = /^[A-Za-z][A-Za-z0-9_.-]{0,252}$/;
const CLASS = /^[A-Za-z][A-Za-z0-9_-]{0,62}$/;
const DEVICE = /^[A-Za-z0-9]([A-Za-z0-9_.:-]{0,251}[A-Za-z0-9])?$/;

const list = <S extends v.GenericSchema>(item: S) => v.optional(v.array(item), []);
const text = v.pipe(v.string(), v.maxLength(65_536), v.regex(/^[^\0]*$/, 'holds a NUL'));
const path = v.pipe(text, v.regex(/^\//, 'expected an absolute path'), v.maxLength(4095));
const whole = (max: number) => v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(max));
const id = whole(2 ** 31 - 1);

const deviceNode = v.strictObject({
  path,
  hostPath: v.optional(path),
  // "u" is "c" by another name, and a FIFO is no device.
  type: v.optional(
    v.pipe(
      v.picklist(['', 'b', 'c', 'u']),
      v.transform((type) => (type === '' ? undefined : type === 'u' ? ('c' as const) : type)),
    ),
  ),
  major: v.optional(whole(4095)),
  minor: v.optional(whole(1_048_575)),
  fileMode: v.optional(whole(0o7777)),
  permissions: v.optional(
    v.pipe(v.string(), v.regex(/^[rwm]{0,3}$/, 'expected letters of "rwm"')),
    '',
  ),
  uid: v.optional(id),
  gid: v.optional(id),
});

const mount = v.strictObject({
  hostPath: path,
  containerPath: path,
  type: v.optional(v.picklist(['', 'bind', 'none'])),
  options: list(v.pipe(text, v.maxLength(256))),
});

/** Parts of the specification that change more than cais lets a device change; the file stays usable for its other devices. */
const UNSUPPORTED = ['hooks', 'intelRdt', 'netDevices'] as const;

const edits = v.optional(
  v.pipe(
    v.strictObject({
      env: list(v.pipe(text, v.regex(/^[^=]+=/, 'expected NAME=value'))),
      deviceNodes: list(deviceNode),
      mounts: list(mount),
      additionalGids: list(id),
      hooks: v.optional(v.array(v.looseObject({}))),
      intelRdt: v.optional(v.looseObject({})),
      netDevices: v.optional(v.array(v.looseObject({}))),
    }),
    v.transform(
      (given): CdiEdits => ({
        env: given.env,
        deviceNodes: given.deviceNodes,
        mounts: given.mounts,
        additionalGids: given.additionalGids,
        unsupported: UNSUPPORTED.filter((name) => {
          const part = given[name];
          return part !== undefined && !(Array.isArray(part) && part.length === 0);
        }),
      }),
    ),
  ),
  {},
);

const annotations = v.optional(v.record(v.string(), v.string()));

const spec = v.strictObject({
  cdiVersion: v.pipe(v.string(), v.regex(VERSION, 'expected a version from 0.3.0 to 1.0')),
  kind: v.pipe(
    v.string(),
    v.check((kind) => parseKind(kind) !== undefined, 'expected "vendor.com/class"'),
  ),
  annotations,
  devices: v.pipe(
    v.array(
      v.strictObject({
        name: v.pipe(v.string(), v.regex(DEVICE, 'expected a device name')),
        annotations,
        containerEdits: edits,
      }),
    ),
    v.minLength(1, 'expected at least one device'),
    v.maxLength(10_000),
  ),
  containerEdits: edits,
});

/**
 * Checks the parsed content of a CDI file.
 * @throws InvalidArgumentError naming the field.
 */
export function parseCdiSpec(value: unknown): CdiSpec {
  const result = v.safeParse(spec, value, { abortEarly: true });
  if (!result.success) {
    const [issue] = result.issues;
    throw new InvalidArgumentError(`${v.getDotPath(issue) ?? 'the file'}: ${issue.message}`);
  }
  const { cdiVersion, kind, devices, containerEdits } = result.output;
  const names = devices.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new InvalidArgumentError(`the device "${twice}" appears twice`);
  return { cdiVersion, kind, devices, containerEdits };
}

/** A fully qualified device name, `vendor.com/class=name`, taken apart; undefined when it is none. */
export function parseCdiName(name: string): { kind: string; device: string } | undefined {
  const equals = name.indexOf('=');
  if (equals < 0) return undefined;
  const kind = name.slice(0, equals);
  const device = name.slice(equals + 1);
  return parseKind(kind) !== undefined && DEVICE.test(device) ? { kind, device } : undefined;
}

function parseKind(kind: string): { vendor: string; class: string } | undefined {
  const [vendor = '', name = '', ...rest] = kind.split('/');
  const isPlain = (text: string) => /[A-Za-z0-9]$/.test(text);
  if (rest.length > 0 || !VENDOR.test(vendor) || !CLASS.test(name)) return undefined;
  return isPlain(vendor) && isPlain(name) ? { vendor, class: name } : undefined;
}
