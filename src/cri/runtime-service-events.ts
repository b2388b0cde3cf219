import { nanos } from './convert.js';
import { fromSandboxStatus } from './convert-sandbox.js';
import { fromContainerStatus } from './convert-status.js';
import { listContainers } from './find.js';
import { ContainerEventResponse, ContainerEventType } from './generated/api.js';
import type { ServiceParts } from './service-parts.js';

const TYPES = {
  created: ContainerEventType.CONTAINER_CREATED_EVENT,
  started: ContainerEventType.CONTAINER_STARTED_EVENT,
  stopped: ContainerEventType.CONTAINER_STOPPED_EVENT,
  deleted: ContainerEventType.CONTAINER_DELETED_EVENT,
} as const;

/** The call that tells what happens to containers; each event carries the state of its sandbox as it is when the event is sent. */
export function eventCalls({ engine, rpc }: ServiceParts) {
  return {
    getContainerEvents: rpc.stream(
      ContainerEventResponse,
      async function* (_request: object, { signal }) {
        for await (const event of engine.events.subscribe({ signal })) {
          const sandbox = engine.sandboxes.get(event.sandboxId);
          yield {
            containerId: event.containerId,
            containerEventType: TYPES[event.kind],
            createdAt: nanos(event.createdAtNanos),
            ...(sandbox === undefined ? {} : { podSandboxStatus: fromSandboxStatus(sandbox) }),
            containersStatuses: listContainers(engine, { sandboxId: event.sandboxId }).map(
              (record) => fromContainerStatus(record, (name) => engine.images.find(name)),
            ),
          };
        }
      },
    ),
  };
}
