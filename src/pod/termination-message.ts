import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { chmod, mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { LineJoiner, parseLogLine } from '../container/log-entry.js';
import type { Pod, PodContainer } from '../objects/defaults.js';
import type { BindMount } from '../runtime/container-config.js';
import { attemptLogPath } from './pod-logs.js';

const DEFAULT_PATH = '/dev/termination-log';
const MAX_FILE_BYTES = 4096;
const MAX_LOG_TEXT_BYTES = 2048;
const MAX_LOG_LINES = 80;
/** Holds the lines above, even if they were written in parts of one byte each behind their timestamps. */
const MAX_LOG_TAIL_BYTES = 128 * 1024;
/** What all containers of a pod may say together. */
const MAX_POD_BYTES = 12 * 1024;

/** Where a pod's private files are. */
export interface TerminationPlaces {
  readonly pod: Pod;
  /** Private directory of the pod. */
  readonly directory: string;
  readonly logDirectory: string;
}

/** Which run of which container ended, and how. */
export interface TerminatedAttempt {
  readonly name: string;
  readonly attempt: number;
  readonly exitCode: number;
}

/**
 * Makes the empty file in which a container may say why it ends, and returns its mount. The file of the attempt before is replaced.
 * @see contracts/kubernetes-semantics.md F53
 */
export async function makeTerminationFile(
  container: PodContainer,
  directory: string,
): Promise<BindMount> {
  const hostPath = filePath(directory, container.name);
  await mkdir(join(directory, 'termination'), { recursive: true, mode: 0o700 });
  await rm(hostPath, { force: true });
  await (await open(hostPath, 'wx', 0o600)).close();
  // Whatever user the container runs as may write; open obeys the umask, chmod does not.
  await chmod(hostPath, 0o666);
  return {
    type: 'bind',
    hostPath,
    containerPath: container.terminationMessagePath || DEFAULT_PATH,
    readOnly: false,
  };
}

/**
 * What a container said of its end, from its file or, if it asked for that and failed, from the end of its log; undefined when nothing.
 * Reads a bounded number of bytes from local files. The container wrote them: the text may hold anything.
 * @see contracts/kubernetes-semantics.md F53
 */
export function readTerminationMessage(
  { pod, directory, logDirectory }: TerminationPlaces,
  { name, attempt, exitCode }: TerminatedAttempt,
): string | undefined {
  const all = [...pod.spec.initContainers, ...pod.spec.containers];
  const policy = all.find((container) => container.name === name)?.terminationMessagePolicy;
  let message = readTail(filePath(directory, name), MAX_FILE_BYTES).bytes;
  if (message.length === 0 && policy === 'FallbackToLogsOnError' && exitCode !== 0) {
    message = lastLogText(join(logDirectory, attemptLogPath(name, attempt)));
  }
  const share = Math.floor(MAX_POD_BYTES / all.length);
  const text = decode(message.subarray(0, share));
  return text === '' ? undefined : text;
}

/** A container's name is a DNS label: it cannot leave the directory. */
function filePath(directory: string, container: string): string {
  return join(directory, 'termination', container);
}

function lastLogText(path: string): Buffer {
  const { bytes, isWhole } = readTail(path, MAX_LOG_TAIL_BYTES);
  const joiner = new LineJoiner();
  const lines: Buffer[] = [];
  // The first line may lack its beginning.
  let start = isWhole ? 0 : bytes.indexOf('\n') + 1;
  for (let end = bytes.indexOf('\n', start); end !== -1; end = bytes.indexOf('\n', start)) {
    const part = parseLogLine(bytes.subarray(start, end));
    const entry = part === undefined ? undefined : joiner.push(part);
    if (entry !== undefined) lines.push(entry.text, NEWLINE);
    start = end + 1;
  }
  for (const entry of joiner.rest()) lines.push(entry.text, NEWLINE);
  return Buffer.concat(lines.slice(-2 * MAX_LOG_LINES)).subarray(-MAX_LOG_TEXT_BYTES);
}

const NEWLINE = Buffer.from('\n');

/** The last bytes of a regular file; none when there is no such file. */
function readTail(path: string, maxBytes: number): { bytes: Buffer; isWhole: boolean } {
  let fd: number;
  try {
    // Neither a link to a file of the host nor a FIFO that never answers, whatever came to be here.
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO'].includes(code)) return NOTHING;
    throw error;
  }
  try {
    const status = fstatSync(fd);
    if (!status.isFile()) return NOTHING;
    const bytes = Buffer.alloc(Math.min(status.size, maxBytes));
    const length = readSync(fd, bytes, 0, bytes.length, status.size - bytes.length);
    return { bytes: bytes.subarray(0, length), isWhole: bytes.length === status.size };
  } finally {
    closeSync(fd);
  }
}

const NOTHING = { bytes: Buffer.alloc(0), isWhole: true };

/** As UTF-8, without the rest of a character that was cut at the beginning. */
function decode(bytes: Buffer): string {
  let start = 0;
  while (start < Math.min(3, bytes.length) && ((bytes[start] ?? 0) & 0xc0) === 0x80) start += 1;
  return bytes.toString('utf8', start);
}
