import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { REGISTRY_PROGRAM, registryConfig } from '../../scripts/loopback-registry.mjs';

/** @typedef {import('./stage.mjs').Stage} Stage */

/** The stage has a loopback of its own, where every port is free. */
const ADDRESS = '127.0.0.1:5000';

/**
 * Serves a registry's storage directory, read-only, on the loopback of the stage; it ends with the stage.
 * @param {Stage} stage
 * @param {string} storageDirectory
 */
export async function startStageRegistry(stage, storageDirectory) {
  const configPath = join(stage.directory, 'registry.yml');
  const config = registryConfig(storageDirectory, { readOnly: true, address: ADDRESS });
  writeFileSync(configPath, JSON.stringify(config)); // JSON is YAML.
  const program = stage.start([REGISTRY_PROGRAM, 'serve', configPath], {
    env: { OTEL_TRACES_EXPORTER: 'none' },
  });
  await program.until(/listening on /, 20_000);
  return { url: `http://${ADDRESS}` };
}
