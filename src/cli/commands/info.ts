import { availableParallelism, release, totalmem } from 'node:os';
import type { Engine } from '../../engine.js';
import { type CommandContext, withEngine } from '../context.js';

export interface InfoOptions {
  readonly output: 'text' | 'json';
}

/** `cais info`: what this machine offers and what cais makes of it. */
export function info(context: CommandContext, { output }: InfoOptions): Promise<void> {
  return withEngine(context, async (engine) => {
    const facts = await collectFacts(engine);
    const text =
      output === 'json'
        ? JSON.stringify(facts, undefined, 2)
        : Object.entries(facts)
            .map(([name, value]) => `${`${name}:`.padEnd(18)} ${String(value)}`)
            .join('\n');
    context.stdout.write(`${text}\n`);
  });
}

async function collectFacts(engine: Engine) {
  const { root, run, cgroupParent } = engine.config;
  const { layerForm, imageForm, cgroups, openFiles } = await engine.facts();
  const { v1, v2 } = cgroups;
  const controllers = [...v1.flatMap((one) => one.controllers), ...(v2?.controllers ?? [])];
  return {
    kernel: release(),
    architecture: process.arch,
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    node: process.version,
    root,
    run,
    layerForm,
    imageForm: imageForm.supported ? 'supported' : `not supported: ${imageForm.reason}`,
    cgroups: v1.length === 0 ? 'v2' : v2 === null ? 'v1' : 'hybrid (v1 controllers)',
    controllers: [...new Set(controllers)].sort().join(' '),
    cgroupParent,
    openFiles: `${openFiles.soft} (hard ${openFiles.hard})`,
    images: engine.images.list().length,
    pods: engine.pods.list().length,
  };
}
