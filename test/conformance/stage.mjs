import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { existingCgroups, removeCgroups } from './cgroups.mjs';
import { runCommand } from './command.mjs';
import { startProgram } from './program.mjs';

/** @typedef {import('./command.mjs').CommandOptions} CommandOptions */
/** @typedef {import('./command.mjs').CommandResult} CommandResult */
/** @typedef {import('./program.mjs').Program} Program */

/**
 * Sets the namespaces up and stays as their PID 1 until its standard input ends, which also happens when this process dies; the
 * kernel then kills whatever runs in there and takes mounts, links and packet filters away. SIGCHLD is ignored, so that processes whose parents
 * died do not stay as zombies. Parameter: the directory for the passing mount of the cgroup hierarchies.
 */
const HOLD = `set -e
# A sysfs mounted here shows this network namespace, the machine's shows the machine's.
mount --rbind /sys/fs/cgroup "$1"
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount --rbind "$1" /sys/fs/cgroup
umount -l "$1"
# Runtimes have habits outside of the directories that they are given.
for directory in /run /var/lib /etc/cni; do
  [ ! -d $directory ] || mount -t tmpfs -o mode=755 tmpfs $directory
done
mkdir -p /run/lock
# As systemd leaves a machine: what is mounted on the host appears in containers that ask for it.
mount --make-rshared /
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
# Host ports are reached as 127.0.0.1 as well.
echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
hostname cais-conformance
echo ready
# No shell lets this signal be ignored.
exec env --ignore-signal=CHLD cat
`;

const USUAL_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * A machine within the machine: mount, network, process, IPC and host name namespaces of its own, a directory that is
 * the same inside and outside (so a socket in it can be connected to from both), and a cgroup name.
 * @typedef {object} Stage
 * @property {string} directory short enough for sockets
 * @property {string} cgroup a name for cgroups below the roots of the hierarchies; it and `<name>.supervisors` are removed by `close`
 * @property {(command: readonly string[], options?: CommandOptions) => Promise<CommandResult>} run
 * @property {(command: readonly string[], options?: { readonly env?: NodeJS.ProcessEnv }) => Program} start
 * @property {(command: readonly string[]) => string[]} enter the command that runs `command` inside
 * @property {NodeJS.ProcessEnv} env environment of commands
 * @property {() => number[]} processes its processes but for the holder, by their numbers outside
 * @property {() => Promise<void>} close ends every process, removes everything; closing twice is fine
 */

/**
 * @param {object} [options]
 * @param {readonly string[]} [options.path] directories before the usual ones in PATH
 * @param {readonly string[]} [options.cgroups] further names that may come to be
 * @param {boolean} [options.keep] leaves the directory
 * @returns {Promise<Stage>}
 */
export async function openStage({ path = [], cgroups = [], keep = false } = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'cais-stage-'));
  const temporary = join(directory, 'tmp');
  const passing = join(directory, 'cgroup');
  mkdirSync(temporary, { mode: 0o1777 });
  mkdirSync(passing);
  const cgroup = `cais-stage-${process.pid}-${directory.slice(-6)}`;
  // What somebody else made under these names stays.
  const foreign = cgroups.filter((name) => existingCgroups([name]).length === 0);
  const env = {
    PATH: [...path, USUAL_PATH].join(':'),
    HOME: temporary,
    TMPDIR: temporary,
    LANG: 'C.UTF-8',
  };

  const holder = spawn(
    'unshare',
    [
      ...['--net', '--mount', '--pid', '--ipc', '--uts', '--fork', '--kill-child=SIGKILL'],
      ...['--mount-proc', '--propagation', 'private'],
      ...['/bin/sh', '-c', HOLD, 'hold', passing],
    ],
    { stdio: ['pipe', 'pipe', 'pipe'] },
  );
  const ended = new Promise((resolve) => holder.once('close', resolve).once('error', resolve));
  const close = async () => {
    holder.stdin.destroy();
    await ended;
    const left = await removeCgroups([cgroup, `${cgroup}.supervisors`, ...foreign]);
    if (!keep) rmSync(directory, { recursive: true, force: true });
    if (left.length > 0) throw new Error(`Cannot remove the cgroups ${left.join(', ')}`);
  };

  try {
    await ready(holder);
  } catch (error) {
    await close();
    throw error;
  }
  const init = childOf(/** @type {number} */ (holder.pid));
  /** @type {Stage['enter']} */
  const enter = (command) => [
    'nsenter',
    `--target=${init}`,
    ...['--mount', '--net', '--pid', '--ipc', '--uts', '--'],
    ...command,
  ];
  return {
    directory,
    cgroup,
    env,
    enter,
    run: (command, options = {}) =>
      runCommand(enter(command), { ...options, env: { ...env, ...options.env } }),
    start: (command, options = {}) =>
      startProgram(enter(command), { env: { ...env, ...options.env }, isEntered: true }),
    processes: () => processesBeside(init),
    close,
  };
}

/** @param {import('node:child_process').ChildProcessWithoutNullStreams} holder */
async function ready(holder) {
  let printed = '';
  await new Promise((resolve, reject) => {
    holder.once('error', reject);
    holder.once('close', () =>
      reject(new Error(`Cannot make the namespaces of the stage: ${printed.trim()}`)),
    );
    for (const stream of [holder.stdout, holder.stderr]) {
      stream.on('data', (/** @type {Buffer} */ chunk) => {
        printed += chunk.toString();
        if (/^ready$/m.test(printed)) resolve(undefined);
      });
    }
  });
}

/**
 * Processes in the same process namespace.
 * @param {number} init
 */
function processesBeside(init) {
  const namespace = readlinkSync(`/proc/${init}/ns/pid`);
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        return pid > 0 && pid !== init && readlinkSync(`/proc/${pid}/ns/pid`) === namespace;
      } catch {
        return false; // It ended meanwhile, or is a kernel thread.
      }
    });
}

/**
 * The only child of a process that forked once.
 * @param {number} pid
 */
function childOf(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
  const child = Number(children[0]);
  if (children.length !== 1 || !child) throw new Error(`Process ${pid} has no single child`);
  return child;
}
