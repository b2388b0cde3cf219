import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { containerdCommand } from './containerd.mjs';

/** @typedef {import('./stage.mjs').Stage} Stage */
/** @typedef {import('./program.mjs').Program} Program */

const REPOSITORY = join(import.meta.dirname, '../..');
const START_TIMEOUT_MS = 60_000;

/**
 * What a runtime needs to know of its stage.
 * @typedef {object} RuntimePlaces
 * @property {Stage} stage
 * @property {string} directory for its state; exists
 * @property {string} socket where it shall listen
 * @property {string} mirrors directory of hosts.toml files
 *
 * @typedef {object} Runtime
 * @property {string} socket
 * @property {string} endpoint `unix://<socket>`
 * @property {string} directory of its state
 * @property {() => Program} program the process that runs now
 * @property {() => Promise<void>} start returns when it accepts connections
 * @property {() => Promise<void>} kill SIGKILL, and waits for its end
 * @property {() => Promise<void>} stop
 */

/** External OCI runtimes for `--handler`, where Debian puts them. */
const OCI_RUNTIMES = new Map([
  ['runc', '/usr/sbin/runc'],
  ['crun', '/usr/bin/crun'],
]);

/** Runtimes that this suite knows how to start. @type {Readonly<Record<string, (places: RuntimePlaces) => string[]>>} */
const COMMANDS = { cais: caisCommand, containerd: containerdCommand };

/** Cgroups that a runtime makes outside of what it was told, by the name of the runtime. */
export const FOREIGN_CGROUPS = /** @type {Readonly<Record<string, readonly string[]>>} */ ({
  cais: [],
  // critest names this slice where a runtime does not answer RuntimeConfig.
  containerd: ['k8s.io', 'test.slice', 'default'],
});

/**
 * @param {object} options
 * @param {Stage} options.stage
 * @param {string} options.mirrors
 * @param {string} options.kind `cais`, `containerd`, or a command for /bin/sh, which finds its places in the environment: SOCKET, DIRECTORY, MIRRORS,
 *   CGROUP
 * @param {NodeJS.ProcessEnv} [options.env] further environment of the runtime
 * @returns {Runtime}
 */
export function describeRuntime({ stage, mirrors, kind, env: more = {} }) {
  const directory = join(stage.directory, 'runtime');
  mkdirSync(directory, { recursive: true });
  const socket = join(stage.directory, 'cri.sock');
  const makeCommand = COMMANDS[kind];
  const command = makeCommand
    ? makeCommand({ stage, directory, socket, mirrors })
    : ['/bin/sh', '-c', `exec ${kind}`];
  const env = {
    SOCKET: socket,
    DIRECTORY: directory,
    MIRRORS: mirrors,
    CGROUP: stage.cgroup,
    ...more,
  };
  /** @type {Program | undefined} */
  let program;
  const current = () => {
    if (!program) throw new Error('The runtime was not started');
    return program;
  };
  return {
    socket,
    endpoint: `unix://${socket}`,
    directory,
    program: current,
    async start() {
      program = stage.start(command, { env });
      await acceptsConnections(socket, program);
    },
    async kill() {
      current().kill('SIGKILL');
      await current().exited;
    },
    async stop() {
      await program?.stop();
    },
  };
}

/** @param {RuntimePlaces} places */
function caisCommand({ stage, directory, socket, mirrors }) {
  const configPath = join(directory, 'config.yaml');
  writeFileSync(
    configPath,
    // JSON is YAML.
    JSON.stringify({
      cgroupParent: stage.cgroup,
      registryConfigDir: mirrors,
      // The network that cais has by itself, whatever else left its files on this machine.
      cni: { confDir: '' },
      handlers: Object.fromEntries(
        [...OCI_RUNTIMES]
          .filter(([, path]) => existsSync(path))
          .map(([name, path]) => [name, { type: 'oci', path }]),
      ),
    }),
  );
  const run = join(stage.directory, 'run');
  return [
    join(REPOSITORY, 'bin/cais'),
    ...['--config', configPath, '--root', join(directory, 'root'), '--run', run],
    ...['serve', '--socket', socket],
  ];
}

/**
 * @param {string} socket
 * @param {Program} program
 */
async function acceptsConnections(socket, program) {
  let hasEnded = false;
  void program.exited.then(() => {
    hasEnded = true;
  });
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!(existsSync(socket) && (await canConnect(socket)))) {
    if (hasEnded) throw new Error(`The runtime ended at its start; it printed:\n${program.log()}`);
    if (performance.now() > deadline) {
      program.kill('SIGKILL');
      throw new Error(`The runtime did not listen in time; it printed:\n${program.log()}`);
    }
    await delay(10);
  }
}

/** @param {string} socket */
function canConnect(socket) {
  return new Promise((resolve) => {
    const connection = connect(socket, () => {
      connection.destroy();
      resolve(true);
    });
    connection.on('error', () => resolve(false));
  });
}
