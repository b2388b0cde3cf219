import { parsePlatform } from '../../image/platform.js';
import { familiarName, parseReference } from '../../reference.js';
import { type CommandContext, withEngine } from '../context.js';
import { openProgress } from '../progress.js';

export interface LoadCommandOptions {
  /** Path, or `-`. */
  readonly archive: string;
  readonly name?: string;
  readonly platform?: string;
  readonly quiet?: boolean;
}

/** `cais load`: loads the images of an archive, and prints the names of each (its id when it has none). */
export function load(context: CommandContext, options: LoadCommandOptions): Promise<void> {
  const { stdout, stderr, signal } = context;
  const platform = options.platform === undefined ? undefined : parsePlatform(options.platform);
  return withEngine(context, async (engine) => {
    const display = options.quiet ? undefined : await openProgress(stderr);
    try {
      const images = await engine.images.load(
        options.archive === '-' ? process.stdin : options.archive,
        {
          signal,
          ...(platform === undefined ? {} : { platform }),
          ...(options.name === undefined ? {} : { name: options.name }),
          ...(display === undefined ? {} : { onProgress: (progress) => display.update(progress) }),
        },
      );
      display?.stop();
      for (const { id, names } of images) {
        const shown =
          names.length === 0 ? [id] : names.map((name) => familiarName(parseReference(name)));
        for (const name of shown) stdout.write(`${name}\n`);
      }
    } finally {
      display?.stop();
    }
  });
}
