import { Command, CommanderError, Option } from 'commander';
import type { ConfigOptions } from '../config.js';
import { DEFAULT_CONFIG_PATH, readConfigFile } from '../config-file.js';
import { describeError } from '../errors.js';
import { packageVersion } from '../version.js';
import type { StartCommand } from './context.js';
import { exitCodeOf } from './exit-code.js';
import { describeImageCommands } from './image-commands.js';
import { Interrupts } from './interrupts.js';
import { describePodCommands } from './pod-commands.js';
import { describeServeCommand } from './serve-command.js';

/** Exit code of a wrong command line. */
const USAGE_EXIT_CODE = 2;

/** The command line: what there is, and which file does it. Files of commands are loaded when used. */
function describeProgram(start: StartCommand): Command {
  const program = new Command('cais')
    .description('Containers and pods on this machine, without a daemon')
    .version(packageVersion(), '--version', 'print the version')
    .addOption(
      new Option(
        '--config <file>',
        `settings; options win over them (default: ${DEFAULT_CONFIG_PATH}, if it exists)`,
      ).env('CAIS_CONFIG'),
    )
    .addOption(
      new Option(
        '--root <directory>',
        'where images, layers and records are kept (default: /var/lib/cais)',
      ).env('CAIS_ROOT'),
    )
    .addOption(
      new Option(
        '--run <directory>',
        'where sockets are kept; must be short (default: /run/cais)',
      ).env('CAIS_RUN'),
    )
    .addOption(
      new Option('--layer-form <form>', 'how layers are stored')
        .choices(['auto', 'image', 'directory'])
        .env('CAIS_LAYER_FORM'),
    )
    .addOption(new Option('--cgroup-parent <path>', 'cgroup of all pods').env('CAIS_CGROUP_PARENT'))
    .addOption(
      new Option('--insecure-registry <host...>', 'registries that speak plain HTTP').env(
        'CAIS_INSECURE_REGISTRY',
      ),
    )
    .addOption(new Option('--bridge <name>', 'bridge of the pod network').env('CAIS_BRIDGE'))
    .addOption(new Option('--subnet <cidr>', 'IPv4 subnet of the pods').env('CAIS_SUBNET'))
    .addOption(
      new Option('--cni-conf-dir <directory>', 'CNI network configurations; "" for none').env(
        'CAIS_CNI_CONF_DIR',
      ),
    )
    .exitOverride()
    .showHelpAfterError('(add --help for the usage)');

  describePodCommands(program, start);
  describeImageCommands(program, start);
  describeServeCommand(program, start);
  return program;
}

/** Settings of the configuration file, and over them those of the command line; {@link loadConfig} checks the values. */
async function settingsOf(options: Record<string, unknown>): Promise<ConfigOptions> {
  const {
    config,
    root,
    run,
    layerForm,
    cgroupParent,
    insecureRegistry,
    bridge,
    subnet,
    cniConfDir,
  } = options;
  const settings = await readConfigFile(config as string | undefined);
  const network = {
    ...settings.network,
    ...(bridge === undefined ? {} : { bridge }),
    ...(subnet === undefined ? {} : { subnet }),
  };
  return {
    ...settings,
    ...(root === undefined ? {} : { root }),
    ...(run === undefined ? {} : { run }),
    ...(layerForm === undefined ? {} : { layerForm }),
    ...(cgroupParent === undefined ? {} : { cgroupParent }),
    ...(insecureRegistry === undefined ? {} : { insecureRegistries: [insecureRegistry].flat() }),
    network,
    ...(cniConfDir === undefined ? {} : { cni: { ...settings.cni, confDir: cniConfDir } }),
  } as unknown as ConfigOptions;
}

/** Runs the program; the one place that prints errors and decides the exit code. */
async function main(): Promise<number> {
  const interrupts = new Interrupts();
  let isOutputGone = false;
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      // "cais logs | head": nobody reads any more.
      isOutputGone = true;
      interrupts.end(error);
    });
  }
  let exitCode = 0;
  let endsOnKill = true;
  const start: StartCommand = async (run, options = {}) => {
    endsOnKill = options.handlesKill !== true;
    exitCode =
      (await run({
        settings: await settingsOf(program.opts()),
        stdout: process.stdout,
        stderr: process.stderr,
        signal: interrupts.signal,
        killSignal: interrupts.killSignal,
      })) ?? 0;
  };
  const program = describeProgram(start);
  interrupts.killSignal.addEventListener('abort', () => {
    if (endsOnKill) process.exit(interrupts.exitCode ?? 1);
  });
  try {
    await program.parseAsync();
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE_EXIT_CODE;
    if (isOutputGone) return 0;
    if (interrupts.exitCode !== undefined) return interrupts.exitCode;
    process.stderr.write(`cais: ${describeError(error)}\n`);
    if (process.env['CAIS_DEBUG'] && error instanceof Error)
      process.stderr.write(`${error.stack}\n`);
    return exitCodeOf(error);
  }
}

// Not process.exit: what was written to a pipe must get there first.
process.exitCode = await main();
