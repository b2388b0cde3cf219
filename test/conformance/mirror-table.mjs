import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MIRRORED_REGISTRIES } from './test-images.mjs';

/**
 * Writes the registry host configuration that leads the names of public registries to one on loopback, which holds them under the
 * same repositories.
 * @param {string} directory made when absent
 * @param {string} url `http://127.0.0.1:<port>`
 * @see containerd, docs/hosts.md
 */
export function writeMirrorTable(directory, url) {
  for (const registry of MIRRORED_REGISTRIES) {
    mkdirSync(join(directory, registry), { recursive: true });
    writeFileSync(
      join(directory, registry, 'hosts.toml'),
      `server = "${url}"\n\n[host."${url}"]\n  capabilities = ["pull", "resolve"]\n`,
    );
  }
}
