import type { Command } from 'commander';
import type { StartCommand } from './context.js';

/** Adds the command that serves other programs. */
export function describeServeCommand(program: Command, start: StartCommand): void {
  program
    .command('serve')
    .description('serve the Kubernetes Container Runtime Interface')
    .option('--socket <path>', 'unix socket to serve at (default: cais.sock in the run directory)')
    .option('--group <name>', 'group that may connect to the socket')
    .option(
      '--streaming-address <host:port>',
      'where exec, attach and port-forward go (default: 127.0.0.1:0)',
    )
    .option('--log-level <level>', 'debug, info, warn or error (default: info)')
    .option('--metrics-address <host:port>', 'where /metrics is served (default: nowhere)')
    .action((options) =>
      start(async (context) => (await import('./commands/serve.js')).serve(context, options)),
    );
}
