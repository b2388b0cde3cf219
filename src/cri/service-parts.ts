import type { ContainerClaims } from '../container/container-claims.js';
import type { SandboxClaims } from '../sandbox/sandbox-claims.js';
import type { CriEngine, CriStreaming } from './cri-engine.js';
import type { Rpc } from './rpc.js';

/** What the calls of both services work with. */
export interface ServiceParts {
  readonly engine: CriEngine;
  readonly streaming: CriStreaming;
  readonly rpc: Rpc;
  readonly claims: { readonly sandboxes: SandboxClaims; readonly containers: ContainerClaims };
}

/** Items of one message of a streamed list: small enough for any client, large enough to be few. */
const PIECE_LENGTH = 100;

/** Cuts a list into pieces of at least one item. */
export function* pieces<T>(items: readonly T[]): Generator<T[]> {
  for (let start = 0; start < items.length; start += PIECE_LENGTH) {
    yield items.slice(start, start + PIECE_LENGTH);
  }
}

/** For `crictl inspect…`: one JSON text under the name that clients look for. */
export function verboseInfo(isWanted: boolean, info: () => object): { info: { info?: string } } {
  return { info: isWanted ? { info: JSON.stringify(info()) } : {} };
}
