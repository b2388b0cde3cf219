import { release, version } from 'node:os';
import type { Engine } from '../../engine.js';
import { type CommandContext, withEngine } from '../context.js';

export interface InfoOptions {
  readonly output: 'text' | 'json';
}

/** `cais info`: what this machine offers and what cais makes of it. */
export function info(context: CommandContext, { output }: InfoOptions): Promise<void> {
  return withEngine(context, async (engine) => {
    const facts = collectFacts(engine);
    const text =
      output === 'json'
        ? JSON.stringify(facts, undefined, 2)
        : Object.entries(facts)
            .map(([name, value]) => `${`${name}:`.padEnd(18)} ${String(value)}`)
            .join('\n');
    context.stdout.write(`${text}\n`);
  });
}

function collectFacts(engine: Engine) {
  const { config, facts } = engine;
  const { v1, v2 } = facts.cgroups;
  const controllers = [...v1.flatMap((one) => one.controllers), ...(v2?.controllers ?? [])];
  return {
    kernel: `${release()} (${version()})`,
    architecture: process.arch,
    node: process.version,
    root: config.root,
    run: config.run,
    layerForm: facts.layerForm,
    layerFormReason: facts.layerFormReason,
    cgroups: v1.length === 0 ? 'v2' : v2 === null ? 'v1' : 'hybrid (v1 controllers)',
    controllers: [...new Set(controllers)].sort().join(' '),
    cgroupParent: config.cgroupParent,
    openFiles: `${facts.openFiles.soft} (hard ${facts.openFiles.hard})`,
    cpus: facts.cpus,
    memoryBytes: facts.memoryBytes,
    images: engine.images.list().length,
    pods: engine.pods.list().length,
  };
}
