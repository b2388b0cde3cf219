import { AlreadyExistsError } from '../errors.js';
import type { SandboxConfig } from '../runtime/sandbox-config.js';
import { SingleFlight } from '../single-flight.js';
import { isAlive, ownIdentity, type ProcessIdentity } from './process-identity.js';
import type { SandboxService } from './sandbox.js';
import type { SandboxRecord } from './sandbox-record.js';

/** Name, uid, namespace and attempt together name a sandbox; the same four twice mean the same one. @see CRI, PodSandboxMetadata */
export function sandboxIdentity({
  name,
  uid,
  namespace,
  attempt,
}: Pick<SandboxConfig, 'name' | 'uid' | 'namespace' | 'attempt'>): string {
  return JSON.stringify([namespace, name, uid, attempt]);
}

/**
 * Makes sandboxes once for each identity. What is claimed is never a name but a record: a caller that gave up and asks again joins the making that
 * still runs, or gets the sandbox that came of it, also from another process on the same root.
 */
export class SandboxClaims {
  readonly #sandboxes: Pick<SandboxService, 'list' | 'run' | 'discard'>;
  readonly #making = new SingleFlight<SandboxRecord>();

  constructor(sandboxes: Pick<SandboxService, 'list' | 'run' | 'discard'>) {
    this.#sandboxes = sandboxes;
  }

  /**
   * The ready sandbox of this identity, made when there is none. It takes no signal: who gives up waiting finds the sandbox in the list.
   * @throws AlreadyExistsError when it has been stopped, or another process is making it; else as `SandboxService.run`.
   */
  run(config: SandboxConfig): Promise<SandboxRecord> {
    const identity = sandboxIdentity(config);
    return this.#making.run(identity, async () => {
      for (const record of this.#sandboxes.list()) {
        if (sandboxIdentity(record.config) !== identity) continue;
        if (record.state === 'ready' && record.stopping !== true) return record;
        if (record.state !== 'initializing') throw taken(record, 'it has been stopped');
        if (isOther(record.owner)) throw taken(record, 'another process is making it');
        // Ours, and not in the making: its undoing failed, which must not keep its name.
        await this.#sandboxes.discard(record.id);
      }
      return this.#sandboxes.run(config);
    });
  }
}

/** Whether a process that still runs, and is not this one, stands behind an unfinished record. */
export function isOther(maker: ProcessIdentity): boolean {
  const own = ownIdentity();
  return (maker.pid !== own.pid || maker.startTicks !== own.startTicks) && isAlive(maker);
}

function taken({ id, config }: SandboxRecord, why: string): AlreadyExistsError {
  const { namespace, name, attempt } = config;
  return new AlreadyExistsError(
    `Cannot run sandbox "${namespace}/${name}" (attempt ${attempt}): sandbox "${id}" has this identity and ${why}; remove it or count the attempt up`,
  );
}
