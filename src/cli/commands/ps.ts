import type { PodSummary } from '../../pod/pod-service.js';
import type { ContainerStatus } from '../../pod/status.js';
import { type CommandContext, withEngine } from '../context.js';
import { type Column, formatAge, formatTable } from '../table.js';
import { printable } from '../terminal.js';

export interface PsOptions {
  readonly output: 'table' | 'json';
}

const MAX_MESSAGE_LENGTH = 60;

interface Row {
  readonly pod: PodSummary;
  readonly container: ContainerStatus;
}

/** `cais ps`: lists pods and their containers, a line each container. */
export function ps(context: CommandContext, { output }: PsOptions): Promise<void> {
  return withEngine(context, async (engine) => {
    const pods = engine.pods.list();
    const rows = pods.flatMap((pod) => pod.containers.map((container) => ({ pod, container })));
    context.stdout.write(
      output === 'json'
        ? `${JSON.stringify(pods, undefined, 2)}\n`
        : formatTable(columns(Date.now()), rows),
    );
  });
}

function columns(nowMs: number): Column<Row>[] {
  return [
    { heading: 'NAMESPACE', cell: ({ pod }) => pod.namespace },
    { heading: 'POD', cell: ({ pod }) => pod.name },
    { heading: 'PHASE', cell: ({ pod }) => pod.reason ?? pod.phase },
    { heading: 'IP', cell: ({ pod }) => pod.ip ?? '-' },
    { heading: 'CONTAINER', cell: ({ container }) => container.name },
    { heading: 'STATE', cell: ({ container }) => describeState(container) },
    { heading: 'RESTARTS', cell: ({ container }) => String(container.restartCount) },
    { heading: 'IMAGE', cell: ({ container }) => container.image },
    {
      heading: 'CREATED',
      cell: ({ pod }) => formatAge(new Date(pod.createdAtMs).toISOString(), nowMs),
    },
  ];
}

/** The first line, as far as it fits a table; all of it is in the JSON. */
function shortened(message: string): string {
  const [line = ''] = printable(message).replaceAll('\t', ' ').split('\n');
  return line.length > MAX_MESSAGE_LENGTH ? `${line.slice(0, MAX_MESSAGE_LENGTH - 1)}…` : line;
}

function describeState({ state }: ContainerStatus): string {
  switch (state.type) {
    case 'running':
      return 'Running';
    case 'waiting':
      return state.reason;
    case 'terminated': {
      const said = state.message === undefined ? '' : `: ${shortened(state.message)}`;
      return `${state.reason} (${state.exitCode})${said}`;
    }
  }
}
