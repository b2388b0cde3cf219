import { type CommandContext, withEngine } from '../context.js';
import { forEachPod } from '../each-pod.js';

export interface RmOptions {
  readonly pods: readonly string[];
  readonly namespace: string;
  readonly force?: boolean;
}

/** `cais rm`: removes ended pods and their logs, and prints the name of each. */
export function rm(context: CommandContext, options: RmOptions): Promise<void> {
  const { pods, namespace, force = false } = options;
  return withEngine(context, (engine) =>
    forEachPod(pods, async (name) => {
      await engine.pods.remove(name, { namespace, force });
      context.stdout.write(`${name}\n`);
    }),
  );
}
