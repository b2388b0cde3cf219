import type { RuntimeServiceServer } from './generated/api.js';
import { checkpointCalls } from './runtime-service-checkpoint.js';
import { containerCalls } from './runtime-service-containers.js';
import { eventCalls } from './runtime-service-events.js';
import { execCalls } from './runtime-service-exec.js';
import { metricsCalls } from './runtime-service-metrics.js';
import { nodeCalls } from './runtime-service-node.js';
import { sandboxCalls } from './runtime-service-sandboxes.js';
import { statsCalls } from './runtime-service-stats.js';
import type { ServiceParts } from './service-parts.js';

/** All calls of the RuntimeService; the compiler sees to it that none is missing. */
export function runtimeService(parts: ServiceParts): RuntimeServiceServer {
  return {
    ...nodeCalls(parts),
    ...sandboxCalls(parts),
    ...containerCalls(parts),
    ...execCalls(parts),
    ...statsCalls(parts),
    ...metricsCalls(parts),
    ...eventCalls(parts),
    ...checkpointCalls(parts),
  };
}
