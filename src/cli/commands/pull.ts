import { parsePlatform } from '../../image/platform.js';
import { familiarName, parseReference } from '../../reference.js';
import { type CommandContext, withEngine } from '../context.js';
import { openProgress } from '../progress.js';

export interface PullCommandOptions {
  readonly images: readonly string[];
  readonly platform?: string;
  readonly quiet?: boolean;
}

/** `cais pull`: fetches images one after the other, and prints the id of each. */
export function pull(context: CommandContext, options: PullCommandOptions): Promise<void> {
  const { stdout, stderr, signal } = context;
  const platform = options.platform === undefined ? undefined : parsePlatform(options.platform);
  // A wrong name is found before anything is fetched.
  const references = options.images.map(parseReference);
  return withEngine(context, async (engine) => {
    for (const [i, name] of options.images.entries()) {
      const reference = references[i];
      if (!options.quiet && reference) stderr.write(`Pulling ${familiarName(reference)}\n`);
      const display = options.quiet ? undefined : await openProgress(stderr);
      try {
        const image = await engine.images.pull(name, {
          signal,
          ...(platform === undefined ? {} : { platform }),
          ...(display === undefined ? {} : { onProgress: (progress) => display.update(progress) }),
        });
        display?.stop();
        stdout.write(`${image.id}\n`);
      } finally {
        display?.stop();
      }
    }
  });
}
