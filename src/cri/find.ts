import type { ContainerRecord } from '../container/state.js';
import { InvalidArgumentError, NotFoundError } from '../errors.js';
import type { SandboxRecord } from '../sandbox/sandbox-record.js';
import type { CriEngine } from './cri-engine.js';

/** No id of ours is as long; those of other runtimes have 64 digits. */
const ID_MAX_LENGTH = 64;

/** Sandboxes that exist for a client: those that were made to the end. */
export function listSandboxes({ sandboxes }: Pick<CriEngine, 'sandboxes'>): SandboxRecord[] {
  return sandboxes.list().filter(({ state }) => state !== 'initializing');
}

/** Containers that exist for a client: those that were made to the end. */
export function listContainers(
  { containers }: Pick<CriEngine, 'containers'>,
  filter: { readonly sandboxId?: string } = {},
): ContainerRecord[] {
  return containers.list(filter).filter(({ state }) => state !== 'creating');
}

/**
 * The sandbox of an id, or of the unambiguous start of one.
 * @throws InvalidArgumentError for an empty or ambiguous id.
 */
export function findSandbox(engine: CriEngine, id: string): SandboxRecord | undefined {
  checkId(id, 'sandbox');
  if (id.length > ID_MAX_LENGTH) return undefined;
  const exact = engine.sandboxes.get(id);
  if (exact !== undefined) return exact.state === 'initializing' ? undefined : exact;
  return onlyOne(
    listSandboxes(engine).filter((record) => record.id.startsWith(id)),
    `sandbox id "${quoted(id)}"`,
  );
}

/** @throws NotFoundError; InvalidArgumentError for an empty or ambiguous id. */
export function requireSandbox(engine: CriEngine, id: string): SandboxRecord {
  const record = findSandbox(engine, id);
  if (record === undefined) throw new NotFoundError(`Sandbox "${quoted(id)}" does not exist`);
  return record;
}

/**
 * The container of an id, or of the unambiguous start of one.
 * @throws InvalidArgumentError for an empty or ambiguous id.
 */
export function findContainer(engine: CriEngine, id: string): ContainerRecord | undefined {
  checkId(id, 'container');
  if (id.length > ID_MAX_LENGTH) return undefined;
  const exact = engine.containers.get(id);
  if (exact !== undefined) return exact.state === 'creating' ? undefined : exact;
  return onlyOne(
    listContainers(engine).filter((record) => record.id.startsWith(id)),
    `container id "${quoted(id)}"`,
  );
}

/** @throws NotFoundError; InvalidArgumentError for an empty or ambiguous id. */
export function requireContainer(engine: CriEngine, id: string): ContainerRecord {
  const record = findContainer(engine, id);
  if (record === undefined) throw new NotFoundError(`Container "${quoted(id)}" does not exist`);
  return record;
}

/** Nothing for what has been removed since it was listed: it must not cost the others their answer. */
export async function whileThere<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof NotFoundError) return undefined;
    throw error;
  }
}

function checkId(id: string, what: string): void {
  if (id === '') throw new InvalidArgumentError(`The ${what} id is empty`);
}

function onlyOne<T>(found: readonly T[], what: string): T | undefined {
  if (found.length > 1) {
    throw new InvalidArgumentError(`Ambiguous ${what}: ${found.length} begin so; write more of it`);
  }
  return found[0];
}

/** Text of a caller as it may stand between quotes. */
function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 100)).slice(1, -1);
}
