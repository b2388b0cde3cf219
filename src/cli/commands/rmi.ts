import { familiarName, parseReference } from '../../reference.js';
import { type CommandContext, withEngine } from '../context.js';

export interface RmiOptions {
  readonly images: readonly string[];
  readonly force?: boolean;
}

/** `cais rmi`: removes names and images, and prints what went. */
export function rmi(context: CommandContext, { images, force = false }: RmiOptions): Promise<void> {
  return withEngine(context, async (engine) => {
    for (const text of images) {
      const { untagged, deleted } = await engine.images.remove(text, { force });
      for (const name of untagged) {
        context.stdout.write(`Untagged: ${familiarName(parseReference(name))}\n`);
      }
      if (deleted !== undefined) context.stdout.write(`Deleted: ${deleted}\n`);
    }
  });
}
