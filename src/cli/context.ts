import type { ConfigOptions } from '../config.js';
import type { Engine } from '../engine.js';

/** What every command gets from `main.ts`: where its state is, where to print, and when to stop. */
export interface CommandContext {
  readonly settings: ConfigOptions;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  /** Aborted by the first SIGINT or SIGTERM, and when nobody reads the output any more: end in an orderly way. */
  readonly signal: AbortSignal;
  /** Aborted by the second one: end now. */
  readonly killSignal: AbortSignal;
}

/** The exit code of the program; nothing: 0. */
export type CommandResult = Promise<number | undefined> | Promise<void>;

/** Runs one command; `main.ts` prints its error and ends with its exit code. */
export type StartCommand = (
  run: (context: CommandContext) => CommandResult,
  /** `handlesKill`: the command listens to `killSignal`; otherwise a second signal ends the program at once. */
  options?: { readonly handlesKill?: boolean },
) => Promise<void>;

/** Opens the engine on the context's root for the time of `action`. The engine is loaded only here: `cais --help` needs none of it. */
export async function withEngine<T>(
  { settings, stderr }: Pick<CommandContext, 'settings' | 'stderr'>,
  action: (engine: Engine) => Promise<T>,
): Promise<T> {
  const { Engine } = await import('../engine.js');
  await using engine = await Engine.open({
    ...settings,
    onWarning: (message) => stderr.write(`cais: warning: ${message}\n`),
  });
  return await action(engine);
}
