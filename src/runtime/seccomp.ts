import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, InvalidArgumentError } from '../errors.js';
import { NATIVE_ABI, type NativeBinding } from '../native.js';
import { defaultSeccompProfile } from './seccomp-profile.js';

/** A profile is a few KiB of JSON. */
const MAX_PROFILE_BYTES = 1 << 20;
/** The kernel's limit of instructions (BPF_MAXINSNS), 8 bytes each. */
const MAX_PROGRAM_BYTES = 4096 * 8;
/** Raised when the same profile compiles to something else: old files are then passed over. */
const COMPILER_VERSION = 1;
/** Fields of Docker's own format: to pass over them would turn "only with a capability" into "always". */
const DOCKER_FIELDS = ['archMap', 'includes', 'excludes'];

export interface SeccompCompilerOptions {
  /** Directory for compiled programs, made when first needed; absent: they are kept in memory only. */
  readonly directory?: string;
}

/**
 * Compiles seccomp profiles to the kernel's instructions and remembers them by the digest of profile and architecture: in memory for this
 * engine, in files for the next one. Compiling takes some 10 ms, a file well below 1.
 */
export class SeccompCompiler {
  readonly #native: Pick<NativeBinding, 'compileSeccomp'>;
  readonly #directory: string | undefined;
  readonly #programs = new Map<string, Promise<Uint8Array>>();

  constructor(native: Pick<NativeBinding, 'compileSeccomp'>, options: SeccompCompilerOptions = {}) {
    this.#native = native;
    this.#directory = options.directory;
  }

  /**
   * `struct sock_filter` array of the default profile with the calls that `capabilities` bring, or of the OCI profile (JSON) in a file of
   * the host.
   * @throws InvalidArgumentError for a profile that cannot be read or compiled.
   */
  async filter(
    profile: 'default' | { readonly path: string },
    capabilities: readonly string[],
  ): Promise<Uint8Array> {
    const json = await this.#json(profile, capabilities);
    if (profile === 'default') return this.#compiled(json);
    try {
      return await this.#compiled(json);
    } catch (cause) {
      throw unusableProfile(profile, cause);
    }
  }

  /**
   * The same profile as the OCI runtime-spec's `linux.seccomp` object, for a runtime that compiles by itself.
   * @throws InvalidArgumentError for a profile that cannot be read or compiled.
   */
  async profile(
    profile: 'default' | { readonly path: string },
    capabilities: readonly string[],
  ): Promise<object> {
    const json = await this.#json(profile, capabilities);
    // A runtime says less clearly what is wrong with it.
    if (profile !== 'default') await this.filter(profile, capabilities);
    return JSON.parse(json) as object;
  }

  async #json(
    profile: 'default' | { readonly path: string },
    capabilities: readonly string[],
  ): Promise<string> {
    if (profile === 'default') return JSON.stringify(defaultSeccompProfile(capabilities));
    try {
      return await readProfile(profile.path);
    } catch (cause) {
      throw unusableProfile(profile, cause);
    }
  }

  #compiled(json: string): Promise<Uint8Array> {
    const key = sha256Hex(JSON.stringify([COMPILER_VERSION, NATIVE_ABI, process.arch, json]));
    let program = this.#programs.get(key);
    if (program === undefined) {
      program = this.#readOrCompile(key, json);
      this.#programs.set(key, program);
      // A failure is told to whoever waits for it, and tried again by the next.
      program.catch(() => this.#programs.delete(key));
    }
    return program;
  }

  async #readOrCompile(key: string, json: string): Promise<Uint8Array> {
    if (this.#directory === undefined) return this.#native.compileSeccomp(json);
    const path = join(this.#directory, key);
    const kept = await readProgram(path);
    if (kept !== undefined) return kept;
    const program = await this.#native.compileSeccomp(json);
    await keepProgram(this.#directory, path, program);
    return program;
  }
}

function unusableProfile({ path }: { readonly path: string }, cause: unknown): Error {
  return new InvalidArgumentError(
    `Cannot use the seccomp profile "${path}": ${describeError(cause)}`,
    { cause },
  );
}

const sha256Hex = (bytes: string | Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** A program and its digest, so that a file cut short by a crash is never taken for a filter. */
async function readProgram(path: string): Promise<Uint8Array | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readBounded(path, MAX_PROGRAM_BYTES + 64);
  } catch {
    return undefined; // absent or unreadable: it is compiled again
  }
  const program = bytes.subarray(64);
  const whole = program.length > 0 && bytes.toString('latin1', 0, 64) === sha256Hex(program);
  return whole ? program : undefined;
}

async function keepProgram(directory: string, path: string, program: Uint8Array): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const bytes = Buffer.concat([Buffer.from(sha256Hex(program), 'latin1'), program]);
    await writeFile(temporary, bytes, { mode: 0o600, flag: 'wx' });
    await rename(temporary, path);
  } catch {
    // A cache that cannot be written (a full disk) costs the next engine some milliseconds, and nothing else.
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}

async function readProfile(path: string): Promise<string> {
  const json = (await readBounded(path, MAX_PROFILE_BYTES)).toString('utf8');
  const parsed: unknown = JSON.parse(json);
  if (typeof parsed !== 'object' || parsed === null) throw new Error('expected a JSON object');
  const { syscalls } = parsed as { syscalls?: unknown };
  const rules = Array.isArray(syscalls) ? (syscalls as unknown[]) : [];
  for (const object of [parsed, ...rules]) {
    const field = DOCKER_FIELDS.find(
      (name) => typeof object === 'object' && object !== null && hasContent(object as object, name),
    );
    if (field !== undefined) {
      throw new Error(`"${field}" is of Docker's format, expected the OCI runtime-spec's`);
    }
  }
  return json;
}

/** Docker's own files carry the fields empty, too; those say nothing. */
function hasContent(object: object, name: string): boolean {
  const value = (object as Record<string, unknown>)[name];
  return typeof value === 'object' && value !== null && Object.keys(value).length > 0;
}

async function readBounded(path: string, maxBytes: number): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const info = await file.stat();
    if (!info.isFile()) throw new Error('it is not a regular file');
    if (info.size > maxBytes) throw new Error(`it is larger than ${maxBytes} bytes`);
    return await readFile(file);
  } finally {
    await file.close();
  }
}
