import { InvalidArgumentError } from '../../errors.js';
import { type CommandContext, withEngine } from '../context.js';
import { isTerminal } from '../terminal.js';

export interface SaveCommandOptions {
  readonly images: readonly string[];
  /** Path, or `-`. */
  readonly output: string;
  readonly format: 'tar' | 'directory';
}

/** `cais save`: writes images to an archive. */
export function save(context: CommandContext, options: SaveCommandOptions): Promise<void> {
  const { stdout, signal } = context;
  const { output, format, images } = options;
  if (output === '-' && (format === 'directory' || isTerminal(stdout))) {
    throw new InvalidArgumentError(
      'Name the archive by --output, or send standard output to a file or a program',
    );
  }
  const destination = output === '-' ? stdout : output;
  return withEngine(context, (engine) =>
    engine.images.save(images, { destination, format, signal }),
  );
}
