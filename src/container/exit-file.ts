import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type ExitRecord, observedExit } from './state.js';

/** An exit record is some 200 bytes. */
const EXIT_FILE_MAX_BYTES = 4096;

/**
 * Reads what the supervisor wrote before it announced the exit; undefined when there is no such file, or not a whole one.
 * @see native/supervisor/PROTOCOL.md, "Files in <runDirectory>"
 */
export async function readExitFile(
  directory: string,
  containerId: string,
): Promise<ExitRecord | undefined> {
  let text: string;
  try {
    const file = await open(join(directory, `${containerId}.json`));
    try {
      const buffer = Buffer.alloc(EXIT_FILE_MAX_BYTES);
      const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
      text = buffer.toString('utf8', 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  return parseExit(text, containerId);
}

export async function removeExitFile(directory: string, containerId: string): Promise<void> {
  await rm(join(directory, `${containerId}.json`), { force: true });
}

function parseExit(text: string, containerId: string): ExitRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { id, exitCode, signal, oomKilled, startedAtNanos, finishedAtNanos } = value as Record<
    string,
    unknown
  >;
  const isNanos = (time: unknown): time is string =>
    typeof time === 'string' && /^[0-9]{1,20}$/.test(time);
  if (id !== containerId || !Number.isInteger(exitCode) || !Number.isInteger(signal)) {
    return undefined;
  }
  if (!isNanos(startedAtNanos) || !isNanos(finishedAtNanos)) return undefined;
  return observedExit({
    exitCode: exitCode as number,
    signal: signal as number,
    oomKilled: oomKilled === true,
    startedAtNanos,
    finishedAtNanos,
  });
}
