import { setTimeout as sleep } from 'node:timers/promises';
import { PodLogs } from './pod-logs.js';
import { hasLivingOwner, type PodRecord } from './pod-record.js';
import type { PodContainers } from './services.js';
import { isEnded } from './status.js';

/** How soon a follower learns that the pod's worker, in another process, has started a container again. */
const POLL_MS = 250;

export interface RecordLogsOptions {
  /** The newest record; undefined when the pod is gone. */
  readonly read: () => PodRecord | undefined;
  readonly containers: PodContainers;
  readonly signal: AbortSignal;
}

/** The logs of a pod that another process runs or ran, followed through its record until it has ended or `signal` aborts. */
export function recordLogs(record: PodRecord, options: RecordLogsOptions): PodLogs {
  const logs = new PodLogs(record.logDirectory);
  const seen = new Map<string, number>();
  addAttempts(record, { logs, seen, options });
  void follow(logs, { seen, options });
  return logs;
}

interface Following {
  readonly logs: PodLogs;
  /** How many attempts of each container have been added. */
  readonly seen: Map<string, number>;
  readonly options: RecordLogsOptions;
}

async function follow(logs: PodLogs, { seen, options }: Omit<Following, 'logs'>): Promise<void> {
  try {
    for (;;) {
      const record = options.read();
      if (record === undefined) return;
      addAttempts(record, { logs, seen, options });
      if (!mayGrow(record, options)) return;
      await sleep(POLL_MS, undefined, { signal: options.signal });
    }
  } catch (error) {
    // Leaving is the only thing that ends the wait early.
    if (!options.signal.aborted) throw error;
  } finally {
    logs.finish();
  }
}

function addAttempts(record: PodRecord, { logs, seen, options }: Following): void {
  for (const { name, state, containerId, restartCount } of record.containers) {
    if (containerId === undefined) continue;
    for (let attempt = seen.get(name) ?? 0; attempt <= restartCount; attempt += 1) {
      const isRunning = attempt === restartCount && state.type === 'running';
      const { signal } = options;
      const ended = isRunning ? { ended: options.containers.wait(containerId, { signal }) } : {};
      logs.add(name, { attempt, ...ended });
      seen.set(name, attempt + 1);
    }
  }
}

function mayGrow(record: PodRecord, { containers }: RecordLogsOptions): boolean {
  if (isEnded(record.phase)) return false;
  if (hasLivingOwner(record)) return true;
  return record.containers.some(
    ({ state, containerId }) =>
      state.type === 'running' && containerId !== undefined && containers.isRunning(containerId),
  );
}
