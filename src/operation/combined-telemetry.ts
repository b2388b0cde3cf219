import type { ObserveOptions, Operation, Telemetry } from '../telemetry.js';

/** Tells several; the first one is the outermost. */
export function combineTelemetry(parts: readonly Telemetry[]): Telemetry {
  return {
    observe: <T>(operation: Operation, options: ObserveOptions, action: () => Promise<T>) =>
      parts.reduceRight<() => Promise<T>>(
        (inner, each) => () => each.observe(operation, options, inner),
        action,
      )(),
    pulledBytes: (bytes) => {
      for (const each of parts) each.pulledBytes(bytes);
    },
  };
}
