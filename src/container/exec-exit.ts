import { FailedPreconditionError } from '../errors.js';
import type { SupervisorClient } from '../runtime/supervisor.js';
import type { Exited } from '../runtime/supervisor-answers.js';

/** The end of one process, heard from the supervisor. Made before the start: the process may end before STARTED is read. */
export class ExecExit {
  /** Rejects with FailedPreconditionError when the supervisor goes away. */
  readonly promise: Promise<Exited>;
  readonly #ends: (() => void)[];

  constructor(client: SupervisorClient, id: string) {
    let settle: (exited: Exited) => void = () => undefined;
    let fail: (error: Error) => void = () => undefined;
    this.promise = new Promise((resolve, reject) => {
      settle = resolve;
      fail = reject;
    });
    // Nobody waits when the start fails.
    this.promise.catch(() => undefined);
    this.#ends = [
      client.onExit((exited) => {
        if (exited.id === id) settle(exited);
      }),
      client.onClose(() =>
        fail(new FailedPreconditionError('The supervisor went away while the command ran')),
      ),
    ];
  }

  /** Listens no longer. */
  close(): void {
    for (const end of this.#ends) end();
  }
}
