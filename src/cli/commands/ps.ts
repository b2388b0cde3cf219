import type { PodSummary } from '../../pod/pod-service.js';
import type { ContainerStatus } from '../../pod/status.js';
import { type CommandContext, withEngine } from '../context.js';
import { formatAge, formatTable } from '../table.js';

export interface PsOptions {
  readonly output: 'table' | 'json';
}

const HEADINGS = [
  'NAMESPACE',
  'POD',
  'PHASE',
  'IP',
  'CONTAINER',
  'STATE',
  'RESTARTS',
  'IMAGE',
  'AGE',
];

/** `cais ps`: lists pods and their containers, a line each container. */
export function ps(context: CommandContext, { output }: PsOptions): Promise<void> {
  return withEngine(context, async (engine) => {
    const pods = engine.pods.list();
    const text =
      output === 'json'
        ? JSON.stringify(pods, undefined, 2)
        : formatTable(
            HEADINGS,
            pods.flatMap((pod) => rowsOf(pod, Date.now())),
          );
    context.stdout.write(`${text}\n`);
  });
}

function rowsOf(pod: PodSummary, nowMs: number): string[][] {
  const { namespace, name, phase, ip = '-', createdAtMs, containers } = pod;
  return containers.map((container) => [
    namespace,
    name,
    phase,
    ip,
    container.isInit ? `init:${container.name}` : container.name,
    describeState(container),
    String(container.restartCount),
    container.image,
    formatAge(nowMs - createdAtMs),
  ]);
}

function describeState({ state }: ContainerStatus): string {
  switch (state.type) {
    case 'running':
      return 'Running';
    case 'waiting':
      return state.reason;
    case 'terminated':
      return `${state.reason} (${state.exitCode})`;
  }
}
