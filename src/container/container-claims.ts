import { AlreadyExistsError } from '../errors.js';
import type { ContainerConfig } from '../runtime/container-config.js';
import { isOther } from '../sandbox/sandbox-claims.js';
import { SingleFlight } from '../single-flight.js';
import type { ContainerService } from './container.js';
import type { ContainerRecord } from './state.js';

/**
 * Makes containers once for each identity, which is their sandbox, name and attempt. A caller that gave up and asks again joins the making that still
 * runs, or gets the container that came of it. @see CRI, ContainerMetadata
 */
export class ContainerClaims {
  readonly #containers: Pick<ContainerService, 'list' | 'create' | 'remove'>;
  readonly #making = new SingleFlight<ContainerRecord>();

  constructor(containers: Pick<ContainerService, 'list' | 'create' | 'remove'>) {
    this.#containers = containers;
  }

  /**
   * The container of this identity, made when there is none.
   * @throws AlreadyExistsError when it has ended, or another process is making it; else as `ContainerService.create`.
   */
  create(sandboxId: string, config: ContainerConfig): Promise<ContainerRecord> {
    const { name, attempt } = config;
    return this.#making.run(JSON.stringify([sandboxId, name, attempt]), async () => {
      for (const record of this.#containers.list({ sandboxId })) {
        if (record.config.name !== name || record.config.attempt !== attempt) continue;
        if (record.state === 'exited') throw taken(record, 'has ended');
        if (record.state !== 'creating') return record;
        if (isOther(record.creator)) throw taken(record, 'is being made by another process');
        // Ours, and not in the making: its undoing failed, which must not keep its name.
        await this.#containers.remove(record.id);
      }
      return this.#containers.create(sandboxId, config);
    });
  }
}

function taken({ id, config }: ContainerRecord, why: string): AlreadyExistsError {
  return new AlreadyExistsError(
    `Cannot create container "${config.name}" (attempt ${config.attempt}): container "${id}" has this identity and ${why}; remove it or count the attempt up`,
  );
}
