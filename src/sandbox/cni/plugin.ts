import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CniError, pluginError } from './cni-error.js';

export type CniCommand = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS';

/** What a plugin is told besides its configuration. Absent for commands that are about no pod. */
export interface CniAttachmentNames {
  readonly containerId: string;
  /** Empty when the namespace is gone. */
  readonly netnsPath: string;
  readonly interfaceName: string;
  /** `KEY=value;KEY=value` */
  readonly args: string;
}

export interface PluginCall {
  readonly type: string;
  readonly command: CniCommand;
  readonly names?: CniAttachmentNames;
  readonly binDirs: readonly string[];
  /** Request configuration, for its standard input. */
  readonly config: object;
  readonly timeoutMs: number;
}

const MAX_OUTPUT_BYTES = 1 << 20;
/** iptables and ip, which plugins run. */
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Runs a plugin: no shell, an environment of its own, the directory `/`, a process group of its own that is killed as a whole when it takes too long
 * or writes more than 1 MiB.
 * @returns what it wrote to its standard output.
 * @throws CniError when it is not there, fails, or is killed.
 */
export async function runPlugin(call: PluginCall): Promise<string> {
  const { type: plugin, command } = call;
  const path = await findPlugin(call);
  const child = spawn(path, [], {
    cwd: '/',
    detached: true,
    env: environment(call),
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let killedFor: string | undefined;
  const kill = (reason: string) => {
    killedFor ??= reason;
    // Plugins run others, for addresses: they go too.
    if (child.pid !== undefined) killGroup(child.pid);
    // Whoever left the group may hold the pipes open.
    child.stdout.destroy();
    child.stderr.destroy();
  };
  const timer = setTimeout(() => kill(`killed after ${call.timeoutMs / 1000} s`), call.timeoutMs);
  const collect = (stream: NodeJS.ReadableStream) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > MAX_OUTPUT_BYTES) kill(`killed when it had written ${MAX_OUTPUT_BYTES} bytes`);
      else chunks.push(chunk);
    });
    return () => Buffer.concat(chunks).toString('utf8');
  };
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  // One that does not read its configuration, or is gone, says by its exit what is wrong.
  child.stdin.on('error', () => undefined);
  child.stdin.end(JSON.stringify(call.config));
  try {
    const how = await new Promise<string>((resolve, reject) => {
      child.once('error', (cause) =>
        reject(new CniError(`Cannot run network plugin "${path}"`, { plugin, command, cause })),
      );
      child.once('close', (code, signal) =>
        resolve(code === 0 ? '' : signal === null ? `exit code ${code}` : `killed by ${signal}`),
      );
    });
    if (killedFor !== undefined || how !== '') {
      throw pluginError(
        { plugin, command },
        { stdout: stdout(), stderr: stderr(), how: killedFor ?? how },
      );
    }
    return stdout();
  } finally {
    clearTimeout(timer);
  }
}

/** Path of the executable. @throws CniError when no directory has it. */
export async function findPlugin({
  type: plugin,
  command,
  binDirs,
}: Pick<PluginCall, 'type' | 'command' | 'binDirs'>): Promise<string> {
  for (const directory of binDirs) {
    const path = join(directory, plugin);
    try {
      await access(path, constants.X_OK);
      if ((await stat(path)).isFile()) return path;
    } catch {
      // The next directory may have it.
    }
  }
  throw new CniError(
    `Network plugin "${plugin}" is in none of the directories ${binDirs.join(', ')}`,
    { plugin, command },
  );
}

function environment({ command, names, binDirs }: PluginCall): Record<string, string> {
  const common = {
    CNI_COMMAND: command,
    CNI_PATH: binDirs.join(':'),
    PATH: process.env['PATH'] ?? DEFAULT_PATH,
  };
  if (names === undefined) return common;
  return {
    ...common,
    CNI_CONTAINERID: names.containerId,
    CNI_NETNS: names.netnsPath,
    CNI_IFNAME: names.interfaceName,
    CNI_ARGS: names.args,
  };
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
