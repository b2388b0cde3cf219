import { type Command, Option } from 'commander';
import type { StartCommand } from './context.js';

/** Adds the commands about images and registries. Each lives in a file of its own, loaded when it is used. */
export function describeImageCommands(program: Command, start: StartCommand): void {
  program
    .command('pull')
    .description('fetch images from their registries')
    .argument('<image...>')
    .addOption(platformOption())
    .option('-q, --quiet', 'print only the ids')
    .action((images, options) =>
      start(async (context) =>
        (await import('./commands/pull.js')).pull(context, { images, ...options }),
      ),
    );

  program
    .command('images')
    .description('list images')
    .argument('[name]', 'only those of this repository')
    .option('-q, --quiet', 'print only the ids')
    .option('--digests', 'show the digests of the repositories')
    .option('--no-trunc', 'print ids in full')
    .addOption(new Option('-o, --output <format>').choices(['table', 'json']).default('table'))
    .action((name, options) =>
      start(async (context) =>
        (await import('./commands/images.js')).images(context, { ...options, name }),
      ),
    );

  program
    .command('rmi')
    .description('remove images: a name, or by id all names; the content goes with the last one')
    .argument('<image...>')
    .option('-f, --force', 'also when a container uses it: its content then stays until it ends')
    .action((images, options) =>
      start(async (context) =>
        (await import('./commands/rmi.js')).rmi(context, { images, ...options }),
      ),
    );

  program
    .command('inspect')
    .description('print what is known of images, as JSON')
    .argument('<image...>')
    .action((images) =>
      start(async (context) =>
        (await import('./commands/inspect.js')).inspect(context, { images }),
      ),
    );

  program
    .command('load')
    .description('load images from an OCI layout (directory or tar) or a tar of "docker save"')
    .argument('[archive]', '"-": standard input', '-')
    .option('--name <name>', 'name for images that the archive does not name in full')
    .addOption(platformOption())
    .option('-q, --quiet', 'print only the names')
    .action((archive, options) =>
      start(async (context) =>
        (await import('./commands/load.js')).load(context, { archive, ...options }),
      ),
    );

  program
    .command('save')
    .description('save images as one archive that is an OCI layout, and that Docker loads too')
    .argument('<image...>')
    .option('-o, --output <path>', '"-": standard output', '-')
    .addOption(
      new Option('--format <format>', 'a tar, or an OCI layout directory')
        .choices(['tar', 'directory'])
        .default('tar'),
    )
    .action((images, options) =>
      start(async (context) =>
        (await import('./commands/save.js')).save(context, { images, ...options }),
      ),
    );

  program
    .command('login')
    .description('check credentials with a registry and keep them in the Docker configuration file')
    .argument('[registry]', 'Docker Hub when absent')
    .option('-u, --username <name>')
    .option('--password-stdin', 'read the password from standard input')
    .action((registry, options) =>
      start(async (context) =>
        (await import('./commands/login.js')).login(context, { ...options, registry }),
      ),
    );

  program
    .command('logout')
    .description('forget the credentials of a registry')
    .argument('[registry]', 'Docker Hub when absent')
    .action((registry) =>
      start(async (context) =>
        (await import('./commands/logout.js')).logout(context, { registry }),
      ),
    );
}

function platformOption(): Option {
  return new Option('--platform <platform>', "os/architecture[/variant] instead of this machine's");
}
