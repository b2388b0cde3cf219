import type { ContainerRecord } from '../container/state.js';
import { FailedPreconditionError, InvalidArgumentError } from '../errors.js';
import { toNumber } from './convert.js';
import { requireContainer, requireSandbox } from './find.js';
import {
  type AttachRequest,
  AttachResponse,
  type ExecRequest,
  ExecResponse,
  type ExecSyncRequest,
  ExecSyncResponse,
  type PortForwardRequest,
  PortForwardResponse,
} from './generated/api.js';
import type { ServiceParts } from './service-parts.js';

/** Calls that run commands, or say where streams can be had. */
export function execCalls({ engine, streaming, rpc }: ServiceParts) {
  return {
    // A client that goes away takes its command with it.
    execSync: rpc.unary(
      ExecSyncResponse,
      ({ containerId, cmd, timeout }: ExecSyncRequest, { signal }) => {
        const { id } = requireContainer(engine, containerId);
        const seconds = toNumber(timeout, 'timeout');
        return engine.containers.exec(id, {
          command: cmd,
          ...(seconds > 0 ? { timeoutMs: seconds * 1000 } : {}),
          signal,
        });
      },
    ),

    exec: rpc.unary(ExecResponse, (request: ExecRequest) => {
      const record = running(requireContainer(engine, request.containerId), 'run a command in');
      // The streaming server checks the rest: which streams are asked for, and that there is a command.
      const { tty: terminal, stdin, stdout, stderr, cmd: command } = request;
      const asked = { containerId: record.id, terminal, stdin, stdout, stderr };
      return { url: streaming.execUrl({ ...asked, command }) };
    }),

    attach: rpc.unary(AttachResponse, (request: AttachRequest) => {
      const record = running(requireContainer(engine, request.containerId), 'attach to');
      const { tty: terminal, stdin, stdout, stderr } = request;
      // Otherwise the client would set its own terminal up wrongly, and wait for an output that never comes.
      if (record.config.terminal !== terminal) {
        throw new InvalidArgumentError(
          `Cannot attach to container "${record.config.name}": it runs with${record.config.terminal ? '' : 'out'} a terminal; ask for tty accordingly`,
        );
      }
      const asked = { containerId: record.id, terminal, stdin, stdout, stderr };
      return { url: streaming.attachUrl(asked) };
    }),

    portForward: rpc.unary(
      PortForwardResponse,
      ({ podSandboxId, port: ports }: PortForwardRequest) => {
        const { id, state } = requireSandbox(engine, podSandboxId);
        if (state !== 'ready') {
          throw new FailedPreconditionError(
            `Cannot forward ports to sandbox "${id}": it is ${state}`,
          );
        }
        return { url: streaming.portForwardUrl({ sandboxId: id, ports }) };
      },
    ),
  };
}

function running(record: ContainerRecord, what: string): ContainerRecord {
  if (record.state === 'running') return record;
  throw new FailedPreconditionError(
    `Cannot ${what} container "${record.config.name}": it is ${record.state}`,
  );
}
