import { type CommandContext, withEngine } from '../context.js';
import { forEachPod } from '../each-pod.js';

export interface StopOptions {
  readonly pods: readonly string[];
  readonly namespace: string;
  /** Seconds. */
  readonly time?: number;
}

/** `cais stop`: ends pods, whoever runs them, and prints the name of each. */
export function stop(context: CommandContext, options: StopOptions): Promise<void> {
  const { pods, namespace, time } = options;
  const grace = time === undefined ? {} : { graceSeconds: time };
  return withEngine(context, (engine) =>
    forEachPod(pods, async (name) => {
      await engine.pods.stop(name, { namespace, ...grace });
      context.stdout.write(`${name}\n`);
    }),
  );
}
