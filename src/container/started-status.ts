import { setTimeout as delay } from 'node:timers/promises';
import type { SupervisorClient } from '../runtime/supervisor.js';
import type { ContainerStatus, Started } from '../runtime/supervisor-answers.js';
import { ownIdentity } from '../sandbox/process-identity.js';
import type { ContainerRecord } from './state.js';

/** Nobody but who asked for a start is told how it went. */
const POLL_MS = 50;

/** What the supervisor knows of a container, once it is not being started any more; undefined when it knows none, or the start failed. */
export async function startedStatus(
  client: SupervisorClient,
  { id, signal }: { readonly id: string; readonly signal?: AbortSignal },
): Promise<ContainerStatus | undefined> {
  for (;;) {
    signal?.throwIfAborted();
    const { containers } = await client.status();
    const status = containers.find((container) => container.id === id);
    // The supervisor ends every start that takes too long, so this ends.
    if (status?.state !== 'created') return status;
    await delay(POLL_MS, undefined, signal === undefined ? {} : { signal });
  }
}

/**
 * The start that an engine asked for which died before it heard of it, finished. An OCI runtime takes long enough for that, and to start the
 * container once more, or only to mount its root, would break the first start.
 */
export async function startOfAnotherEngine(
  client: SupervisorClient,
  { record, signal }: { readonly record: ContainerRecord; readonly signal?: AbortSignal },
): Promise<Started | undefined> {
  const { creator, id } = record;
  const own = ownIdentity();
  if (creator.pid === own.pid && creator.startTicks === own.startTicks) return undefined;
  const status = await startedStatus(client, { id, ...(signal === undefined ? {} : { signal }) });
  if (status === undefined) return undefined;
  const { pid, startTicks, startedAtNanos } = status;
  return { id, pid, startTicks, startedAtNanos };
}
