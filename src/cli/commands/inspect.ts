import { type CommandContext, withEngine } from '../context.js';

/** `cais inspect`: prints the records of images as one JSON list. */
export function inspect(
  context: CommandContext,
  { images }: { readonly images: readonly string[] },
): Promise<void> {
  return withEngine(context, async (engine) => {
    const records = images.map((image) => engine.images.inspect(image));
    context.stdout.write(`${JSON.stringify(records, null, 2)}\n`);
  });
}
