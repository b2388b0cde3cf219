import { type Command, Option, InvalidArgumentError as UsageError } from 'commander';
import type { StartCommand } from './context.js';

/** Adds the commands about pods, and about cais as a whole. Each lives in a file of its own, loaded when it is used. */
export function describePodCommands(program: Command, start: StartCommand): void {
  program
    .command('run')
    .description('run the pods of a manifest to their end')
    .requiredOption('-f, --file <file>', 'manifest, YAML or JSON; "-" reads standard input')
    .option('-d, --detach', 'leave the pods running and return when they have been started')
    .option('--keep', 'leave record and logs when the pods have ended')
    .option('-q, --quiet', 'print only what the containers write')
    .addHelpText(
      'after',
      `
Ends with the exit code of the container that failed first, 0 if none did. A pod without restartPolicy
is run with "Never", so that it ends. The first SIGINT or SIGTERM stops the pods gracefully, the second kills them.`,
    )
    .action((options) =>
      start(async (context) => (await import('./commands/run.js')).run(context, options), {
        handlesKill: true,
      }),
    );

  program
    .command('ps')
    .description('list pods and their containers')
    .option('-o, --output <format>', 'table or json', oneOf('table', 'json'), 'table')
    .action((options) =>
      start(async (context) => (await import('./commands/ps.js')).ps(context, options)),
    );

  program
    .command('logs')
    .description('print what the containers of a pod wrote')
    .argument('<pod>')
    .addOption(namespaceOption())
    .option('-c, --container <name>', 'only this container')
    .option('-f, --follow', 'go on until the pod has ended')
    .option('--tail <lines>', 'begin with the last so many lines', wholeNumber)
    .option(
      '--since <time>',
      'only lines since then: a duration such as 90s, 5m, 2h, or an RFC 3339 time',
    )
    .option('--timestamps', 'print the time of each line')
    .action((pod, options) =>
      start(async (context) =>
        (await import('./commands/logs.js')).logs(context, { pod, ...options }),
      ),
    );

  program
    .command('stop')
    .description('end pods, whoever runs them')
    .argument('<pod...>')
    .addOption(namespaceOption())
    .option('-t, --time <seconds>', 'time between the stop signal and SIGKILL', wholeNumber)
    .action((pods, options) =>
      start(async (context) =>
        (await import('./commands/stop.js')).stop(context, { pods, ...options }),
      ),
    );

  program
    .command('rm')
    .description('remove ended pods and their logs')
    .argument('<pod...>')
    .addOption(namespaceOption())
    .option('--force', 'stop them first')
    .action((pods, options) =>
      start(async (context) =>
        (await import('./commands/rm.js')).rm(context, { pods, ...options }),
      ),
    );

  program
    .command('info')
    .description('print what this machine offers and what cais makes of it')
    .option('-o, --output <format>', 'text or json', oneOf('text', 'json'), 'text')
    .action((options) =>
      start(async (context) => (await import('./commands/info.js')).info(context, options)),
    );

  program
    .command('reset')
    .description('remove every pod, image and setting that cais made under its root')
    .option('--force', 'do it; without it, only say what would go')
    .action((options) =>
      start(async (context) => (await import('./commands/reset.js')).reset(context, options)),
    );
}

function namespaceOption(): Option {
  return new Option('-n, --namespace <name>', 'namespace of the pod').default('default');
}

function wholeNumber(text: string): number {
  if (!/^[0-9]{1,9}$/.test(text)) throw new UsageError('expected a whole number.');
  return Number(text);
}

function oneOf(...values: readonly string[]) {
  return (text: string): string => {
    if (!values.includes(text)) throw new UsageError(`expected ${values.join(' or ')}.`);
    return text;
  };
}
