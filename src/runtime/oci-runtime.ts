import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { RuntimeError } from '../errors.js';

/** An external OCI runtime, as a sandbox's containers use it. Kept in records: a container outlives changes of the configuration. */
export interface OciRuntime {
  /** Absolute path of the program. */
  readonly program: string;
  /** Before the command. */
  readonly options: readonly string[];
  /** Where the runtime keeps its state; absent: in the sandbox's run directory. */
  readonly root?: string;
}

/** An OCI runtime could not be run, or ended with an error (`OCI_RUNTIME_FAILED`). */
export class OciRuntimeError extends RuntimeError {
  constructor(message: string, options?: { readonly cause?: unknown }) {
    super('OCI_RUNTIME_FAILED', message, options);
  }
}

/** What a runtime prints that says what it can do: some KiB. */
const MAX_OUTPUT_BYTES = 1 << 20;
const FEATURES_TIMEOUT_MS = 10_000;
const DELETE_TIMEOUT_MS = 30_000;
const MAX_SHOWN = 1000;

/**
 * What `features` prints, as text.
 * @throws OciRuntimeError when the runtime cannot be run or knows no such command.
 * @see OCI runtime-spec, features.md
 */
export function runtimeFeatures(runtime: OciRuntime): Promise<string> {
  return run(runtime, ['features'], FEATURES_TIMEOUT_MS);
}

/**
 * Lets the runtime forget a container, and end it should it run; none is success. A runtime that cannot do it (it is not installed any more, or its
 * state is damaged) keeps nothing from being removed: the caller has killed the container's cgroup, and the state is taken away here.
 */
export async function deleteFromRuntime(
  runtime: OciRuntime,
  { id, root }: { readonly id: string; readonly root: string },
): Promise<void> {
  try {
    await run(runtime, ['--root', root, 'delete', '--force', id], DELETE_TIMEOUT_MS);
  } catch {
    await rm(join(root, id), { recursive: true, force: true });
  }
}

/** Runs the program without a shell and with an environment of its own. */
function run(runtime: OciRuntime, args: readonly string[], timeoutMs: number): Promise<string> {
  const { program, options } = runtime;
  return new Promise((resolve, reject) => {
    execFile(
      program,
      [...options, ...args],
      {
        cwd: '/',
        env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
        encoding: 'utf8',
        maxBuffer: MAX_OUTPUT_BYTES,
        timeout: timeoutMs,
        killSignal: 'SIGKILL',
      },
      (cause, stdout, stderr) => {
        if (cause === null) return resolve(stdout);
        const said = stderr.trim().slice(-MAX_SHOWN);
        const why = cause.killed === true ? `it did not end in ${timeoutMs} ms` : said;
        reject(
          new OciRuntimeError(
            `OCI runtime "${program}" failed (${args.at(-1)})${why === '' ? '' : `: ${why}`}`,
            { cause },
          ),
        );
      },
    );
  });
}
