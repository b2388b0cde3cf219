import { validatePod } from '../../objects/validate.js';
import type { PodEvent } from '../../pod/events.js';
import type { PodHandle } from '../../pod/pod-handle.js';
import type { PodService } from '../../pod/pod-service.js';
import type { PodResult } from '../../pod/worker.js';
import { type CommandContext, withEngine } from '../context.js';
import { LogPrinter } from '../log-printer.js';
import { readManifestFile } from '../manifest-file.js';
import { openProgress } from '../progress.js';
import { printable } from '../terminal.js';

export interface RunOptions {
  readonly file: string;
  readonly detach?: boolean;
  readonly keep?: boolean;
  readonly quiet?: boolean;
}

/** Events that a person who runs a pod wants to see; the others only say what the logs say too. */
const SHOWN: readonly PodEvent['reason'][] = ['Pulling', 'Pulled', 'BackOff', 'DeadlineExceeded'];

/**
 * `cais run`: runs every pod of a manifest, with its logs, until all have ended.
 * @returns the exit code of the container that failed first, in the first pod of the file that has one; 0 if none failed.
 */
export async function run(context: CommandContext, options: RunOptions): Promise<number> {
  // Everything is checked before anything is started.
  const manifests = (await readManifestFile(options.file)).map(validatePod);
  return withEngine(context, async (engine) => {
    const handles: PodHandle[] = [];
    try {
      for (const manifest of manifests) {
        handles.push(await startPod(engine.pods, { manifest, context, options }));
      }
      if (options.detach) {
        await Promise.all(handles.map(detach));
        for (const { name } of handles) context.stdout.write(`${name}\n`);
        return 0;
      }
      const codes = await Promise.all(
        handles.map((handle) => attend(handle, { context, options })),
      );
      return codes.find((code) => code !== 0) ?? 0;
    } catch (error) {
      await endAll(handles, context);
      throw error;
    } finally {
      if (!options.detach && !options.keep) {
        await Promise.all(handles.map((handle) => handle.remove()));
      }
    }
  });
}

async function startPod(
  pods: PodService,
  {
    manifest,
    context,
    options,
  }: { manifest: ReturnType<typeof validatePod>; context: CommandContext; options: RunOptions },
): Promise<PodHandle> {
  const { stderr, signal } = context;
  const display = options.quiet ? undefined : await openProgress(stderr);
  try {
    return await pods.run(manifest, {
      onOwnerExit: 'keep',
      isRemovedAtEnd: !options.detach && !options.keep,
      signal,
      onEvent: ({ reason, message }) => {
        if (SHOWN.includes(reason)) display?.note(message);
      },
      onPullProgress: ({ progress }) => display?.update(progress),
    });
  } finally {
    display?.stop();
  }
}

/** Waits until a pod can be left alone. @throws what starting a container throws: then nothing is left running. */
async function detach(handle: PodHandle): Promise<void> {
  const failed = handle.wait().then(() => undefined);
  await Promise.race([handle.started(), failed]);
}

/** Prints a pod's logs until it has ended; the second interrupt kills it. */
async function attend(
  handle: PodHandle,
  { context, options }: { context: CommandContext; options: RunOptions },
): Promise<number> {
  const { stdout, stderr, killSignal } = context;
  const containers = handle.containers;
  const printer = new LogPrinter({ stdout, stderr, containers });
  const kill = () => void handle.stop({ graceSeconds: 0 }).catch(() => undefined);
  killSignal.addEventListener('abort', kill);
  try {
    // Both are awaited, so that everything a container wrote is printed, also when another could not be started.
    const [result] = await Promise.allSettled([handle.wait(), printAll(handle, printer)]);
    if (result.status === 'rejected') throw result.reason;
    if (!options.quiet) for (const line of failures(handle, result.value)) stderr.write(line);
    return result.value.exitCode;
  } finally {
    killSignal.removeEventListener('abort', kill);
  }
}

/** A line for each container that failed, with what it said of it. */
function failures(pod: PodHandle, { containers }: PodResult): string[] {
  return containers.flatMap(({ name, state }) => {
    if (state.type !== 'terminated' || state.exitCode === 0) return [];
    const said = state.message === undefined ? '' : `: ${printable(state.message)}`;
    return [
      `Container ${name} of pod ${pod.name} ended with exit code ${state.exitCode} (${state.reason})${said}\n`,
    ];
  });
}

async function printAll(handle: PodHandle, printer: LogPrinter): Promise<void> {
  for await (const entry of handle.logs()) await printer.print(entry);
}

/** One pod could not be run: the others of the file are not left half-run. */
async function endAll(handles: readonly PodHandle[], context: CommandContext): Promise<void> {
  const outcomes = await Promise.allSettled(handles.map((handle) => handle.stop()));
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') context.stderr.write(`cais: ${outcome.reason}\n`);
  }
}
