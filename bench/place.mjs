import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { Cgroup } from './cgroup.mjs';
import { OutputLog } from './output-log.mjs';

/**
 * @typedef {import('./contract.d.ts').RunPlace} RunPlace
 * @typedef {import('./contract.d.ts').RunOptions} RunOptions
 * @typedef {import('./contract.d.ts').RunResult} RunResult
 * @typedef {import('./contract.d.ts').RunCost} RunCost
 * @typedef {import('./contract.d.ts').DaemonHandle} DaemonHandle
 */

/** Joins the cgroup and becomes the command. Costs about a millisecond, which every contestant pays. */
const JOIN = 'echo $$ > "$1" && shift && exec "$@"';

const SAMPLE_MS = 20;
/** Memory in /proc/PID/statm is counted in these. */
const PAGE_BYTES = 4096;
const RUN_TIMEOUT_MS = 600_000;
const UNTIL_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 5000;
/** What a background process that holds on to the output of a command may still take. */
const OUTPUT_GRACE_MS = 1000;

/**
 * What one run of a contestant lives in: a cgroup for all its processes, on the disk `directory`, which is the caller's.
 * `close` ends all processes and may be called twice.
 * @param {Pick<RunPlace, 'question' | 'workload' | 'directory'>} options
 * @returns {Promise<{ place: RunPlace, measure: (action: () => Promise<number>) => Promise<RunCost>, close: () => Promise<void> }>}
 */
export async function openPlace({ question, workload, directory }) {
  const cgroup = new Cgroup();
  /** @type {Set<DaemonHandle>} */
  const daemons = new Set();
  /** @type {Promise<void> | undefined} */
  let closing;
  return {
    place: {
      directory,
      question,
      workload,
      run: (command, options) => run(cgroup, { command, options: options ?? {} }),
      daemon: async (command, options) => {
        const daemon = await startDaemon(cgroup, { command, options: options ?? {} });
        daemons.add(daemon);
        return daemon;
      },
    },
    measure: (action) => measure(cgroup, action),
    close: () => {
      closing ??= Promise.all([...daemons].map((daemon) => daemon.stop())).then(() =>
        cgroup.close(),
      );
      return closing;
    },
  };
}

/**
 * @typedef {object} Start
 * @property {readonly string[]} command
 * @property {RunOptions} options
 */

/**
 * Starts a command in the cgroup, in a session of its own, so that an interrupt from the terminal reaches the benchmark alone.
 * @param {Cgroup} cgroup
 * @param {Start & { keepsInput?: boolean }} start
 */
function startProcess(cgroup, { command, options, keepsInput = false }) {
  const { root, cwd, env, stdinPath } = options;
  const stdin = stdinPath === undefined ? undefined : openSync(stdinPath, 'r');
  try {
    const inRoot =
      root === undefined
        ? []
        : ['/usr/sbin/chroot', root, ...(cwd === undefined ? [] : ['/usr/bin/env', '-C', cwd])];
    return spawn('/bin/sh', ['-c', JOIN, 'sh', cgroup.processesPath, ...inRoot, ...command], {
      stdio: [stdin ?? (keepsInput ? 'pipe' : 'ignore'), 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, ...env },
      ...(cwd === undefined || root !== undefined ? {} : { cwd }),
    });
  } finally {
    if (stdin !== undefined) closeSync(stdin);
  }
}

/**
 * @param {Cgroup} cgroup
 * @param {Start} start
 * @returns {Promise<RunResult>}
 */
async function run(cgroup, { command, options }) {
  const started = performance.now();
  const child = startProcess(cgroup, { command, options });
  const stdout = new OutputLog([child.stdout]);
  const stderr = new OutputLog([child.stderr]);
  const closed = new Promise((resolve) => child.once('close', resolve));
  const timeoutMs = options.timeoutMs ?? RUN_TIMEOUT_MS;
  let isOverdue = false;
  const timer = setTimeout(() => {
    isOverdue = true;
    killGroup(child.pid);
  }, timeoutMs);
  try {
    const [code, signal] = await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (...ending) => resolve(ending));
    });
    const seconds = (performance.now() - started) / 1000;
    // What it leaves in the background may keep the pipes open for as long as it lives.
    await Promise.race([closed, delay(OUTPUT_GRACE_MS, undefined, { ref: false })]);
    if (code !== 0) {
      const ending = isOverdue
        ? `was killed after ${timeoutMs} ms`
        : `ended with ${signal ?? `status ${code}`}`;
      throw new Error(`"${command.join(' ')}" ${ending}: ${lastOf(stderr.text, stdout.text)}`);
    }
    return { seconds, stdout: stdout.text, stderr: stderr.text };
  } finally {
    clearTimeout(timer);
    child.stdout?.destroy();
    child.stderr?.destroy();
  }
}

/**
 * @param {Cgroup} cgroup
 * @param {Start} start
 * @returns {Promise<DaemonHandle>}
 */
async function startDaemon(cgroup, { command, options }) {
  const child = startProcess(cgroup, { command, options, keepsInput: true });
  const output = new OutputLog([child.stdout, child.stderr]);
  let hasEnded = false;
  const ended = new Promise((resolve) => child.once('exit', resolve).once('error', resolve)).then(
    () => {
      hasEnded = true;
    },
  );
  // Writing to a process that has ended is noticed by whoever waits for its answer.
  child.stdin?.on('error', () => {});
  const pid = child.pid;
  if (pid === undefined) throw new Error(`Cannot start "${command.join(' ')}"`);
  const what = `"${command.join(' ')}"`;
  return {
    pid,
    log: () => output.text,
    write: (line) => void child.stdin?.write(`${line}\n`),
    until: async (pattern, timeoutMs = options.timeoutMs ?? UNTIL_TIMEOUT_MS) => {
      const wait = new AbortController();
      try {
        const failed = await Promise.race([
          output.waitFor(pattern, wait.signal).then(() => undefined),
          // Its last words may still be in the pipe.
          ended.then(() => delay(100)).then(() => 'ended'),
          delay(timeoutMs, 'kept silent', { signal: wait.signal }),
        ]);
        if (failed !== undefined) {
          throw new Error(`${what} ${failed} before ${pattern}: ${lastOf(output.text, '')}`);
        }
      } finally {
        wait.abort();
      }
    },
    stop: async () => {
      if (!hasEnded) child.kill('SIGTERM');
      await Promise.race([ended, delay(STOP_TIMEOUT_MS, undefined, { ref: false })]);
      if (!hasEnded) killGroup(pid);
      await ended;
      child.stdin?.destroy();
      child.stdout?.destroy();
      child.stderr?.destroy();
    },
  };
}

/**
 * What `action` costs, whose result is its seconds. Memory is the largest of: the sums of resident memory over all processes of the cgroup, seen every
 * 20 ms, in which pages that two processes share count twice and file pages that a process maps count too; and the own peak of each process that is
 * alive at the end, which the kernel keeps. A process that came and went between two samples is missed. Sampling takes less than one per cent of a core,
 * outside of the cgroup.
 * @param {Cgroup} cgroup
 * @param {() => Promise<number>} action
 * @returns {Promise<RunCost>}
 */
async function measure(cgroup, action) {
  for (const pid of cgroup.processIds()) forgetPeak(pid);
  let peakMemoryBytes = 0;
  const sample = () => {
    let sum = 0;
    for (const pid of cgroup.processIds()) sum += residentBytes(pid);
    peakMemoryBytes = Math.max(peakMemoryBytes, sum);
  };
  sample();
  const sampler = setInterval(sample, SAMPLE_MS);
  const cpuSecondsBefore = cgroup.cpuSeconds();
  try {
    const seconds = await action();
    const cpuSeconds = cgroup.cpuSeconds() - cpuSecondsBefore;
    sample();
    for (const pid of cgroup.processIds()) {
      peakMemoryBytes = Math.max(peakMemoryBytes, peakBytes(pid));
    }
    return { seconds, cpuSeconds, peakMemoryBytes };
  } finally {
    clearInterval(sampler);
  }
}

/** @param {number} pid */
function residentBytes(pid) {
  const [, pages = '0'] = readProc(pid, 'statm').split(' ');
  return Number(pages) * PAGE_BYTES;
}

/** @param {number} pid */
function peakBytes(pid) {
  const kibibytes = /^VmHWM:\s+(\d+) kB$/m.exec(readProc(pid, 'status'))?.[1] ?? '0';
  return Number(kibibytes) * 1024;
}

/**
 * Sets the peak to what is resident now.
 * @param {number} pid
 * @see proc(5), /proc/pid/clear_refs
 */
function forgetPeak(pid) {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, '5');
  } catch {
    // The process ended meanwhile.
  }
}

/**
 * @param {number} pid
 * @param {string} name
 * @returns {string} empty when the process has ended
 */
function readProc(pid, name) {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return '';
  }
}

/** @param {number | undefined} pid that of the leader */
function killGroup(pid) {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // They ended meanwhile.
  }
}

/**
 * The end of what a process said, for a message.
 * @param {string} text
 * @param {string} otherwise
 */
function lastOf(text, otherwise) {
  return (text.trim() || otherwise.trim()).slice(-2000) || 'it said nothing';
}
