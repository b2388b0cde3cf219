import { FailedPreconditionError } from '../../errors.js';
import { type CommandContext, withEngine } from '../context.js';

export interface ResetOptions {
  readonly force?: boolean;
}

/** `cais reset`: undoes everything that cais made under its root: pods, images, network, and settings of the host. */
export function reset(context: CommandContext, { force }: ResetOptions): Promise<void> {
  return withEngine(context, async (engine) => {
    const { root, run } = engine.config;
    if (!force) {
      const what = `${engine.pods.list().length} pods and ${engine.images.list().length} images below ${root}, what is in ${run}, and the pod network`;
      throw new FailedPreconditionError(`This would remove ${what}: repeat it with --force`);
    }
    await engine.reset();
  });
}
