import type { InterfaceCounters } from '../sandbox/network-counters.js';
import type { SandboxStats } from '../sandbox/stats.js';
import type { MetricDefinition } from './metric-definition.js';

type Definition = MetricDefinition<SandboxStats>;

/** Every metric of a sandbox: its network, which its containers share. */
export const NETWORK_METRICS: readonly Definition[] = [
  traffic('receive_bytes', 'Bytes received.', ({ rxBytes }) => rxBytes),
  traffic('receive_packets', 'Packets received.', ({ rxPackets }) => rxPackets),
  traffic('receive_packets_dropped', 'Received packets dropped.', ({ rxDropped }) => rxDropped),
  traffic('receive_errors', 'Errors while receiving.', ({ rxErrors }) => rxErrors),
  traffic('transmit_bytes', 'Bytes sent.', ({ txBytes }) => txBytes),
  traffic('transmit_packets', 'Packets sent.', ({ txPackets }) => txPackets),
  traffic(
    'transmit_packets_dropped',
    'Packets dropped instead of sent.',
    ({ txDropped }) => txDropped,
  ),
  traffic('transmit_errors', 'Errors while sending.', ({ txErrors }) => txErrors),
];

function traffic(
  name: string,
  help: string,
  read: (numbers: InterfaceCounters) => number,
): Definition {
  return {
    name: `container_network_${name}_total`,
    help,
    kind: 'counter',
    labelKeys: ['interface'],
    read: ({ network }) =>
      (network ?? []).map((each) => ({ labels: [each.name], value: read(each) })),
  };
}
