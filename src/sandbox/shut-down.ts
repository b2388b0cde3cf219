import { setTimeout as delay } from 'node:timers/promises';
import type { SupervisorClient } from '../runtime/supervisor.js';

/** How often a supervisor of another version is asked who still runs. */
const POLL_MS = 20;

/** Ends all containers and the supervisor; one of another version is only asked for what never changes. */
export async function shutDown(
  client: SupervisorClient,
  graceMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (client.isCurrent) {
    await client.shutdown(graceMs, signal === undefined ? {} : { signal });
    return;
  }
  await client.stop({ signal: 15 });
  const deadline = performance.now() + graceMs;
  const isRunning = async () =>
    (await client.status()).containers.some(({ state }) => state !== 'exited');
  while (performance.now() < deadline && (await isRunning())) {
    await delay(POLL_MS, undefined, signal === undefined ? {} : { signal });
  }
  await client.stop({ signal: 9 });
}
