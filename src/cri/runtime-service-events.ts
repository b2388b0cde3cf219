import { fromSandboxStatus } from './convert-sandbox.js';
import { fromContainerStatus } from './convert-status.js';
import { listContainers, listSandboxes } from './find.js';
import { ContainerEventResponse, ContainerEventType } from './generated/api.js';
import type { ServiceParts } from './service-parts.js';

const TYPES = {
  created: ContainerEventType.CONTAINER_CREATED_EVENT,
  started: ContainerEventType.CONTAINER_STARTED_EVENT,
  stopped: ContainerEventType.CONTAINER_STOPPED_EVENT,
  deleted: ContainerEventType.CONTAINER_DELETED_EVENT,
} as const;

/**
 * The call that tells what happens to containers. Each event carries the state of its sandbox as it is when the event is sent, or as it was last: the
 * kubelet cannot do with an event of a pod that it is not told.
 */
export function eventCalls({ engine, rpc }: ServiceParts) {
  return {
    getContainerEvents: rpc.stream(
      ContainerEventResponse,
      async function* (_request: object, { signal }) {
        const events = engine.events.subscribe({ signal });
        const last = new Map(listSandboxes(engine).map((record) => [record.id, record]));
        for await (const { kind, containerId, sandboxId, createdAtNanos } of events) {
          const found = engine.sandboxes.get(sandboxId);
          const sandbox = found ?? last.get(sandboxId);
          if (found !== undefined) last.set(sandboxId, found);
          else if (containerId === sandboxId) last.delete(sandboxId);
          yield {
            containerId,
            containerEventType: TYPES[kind],
            createdAt: createdAtNanos,
            ...(sandbox === undefined ? {} : { podSandboxStatus: fromSandboxStatus(sandbox) }),
            containersStatuses: listContainers(engine, { sandboxId }).map((record) =>
              fromContainerStatus(record, (name) => engine.images.find(name)),
            ),
          };
        }
      },
    ),
  };
}
