/**
 * Undo stack of a create that takes several steps. Each step registers its undo right after it has succeeded; `commit` forgets them all,
 * `run` executes them, last first. An undo that fails does not stop the others.
 */
export class Rollback {
  readonly #steps: { readonly name: string; readonly undo: () => unknown }[] = [];

  /** Registers the undo of a step that has just succeeded. `name` appears in the error when undoing fails. */
  add(name: string, undo: () => unknown): void {
    this.#steps.push({ name, undo });
  }

  /** The create succeeded: nothing will be undone. */
  commit(): void {
    this.#steps.length = 0;
  }

  /**
   * Undoes everything, last step first, and returns `cause` for the caller to throw. When an undo fails too, an AggregateError
   * holds both: what is left behind is then known.
   */
  async run(cause: unknown): Promise<unknown> {
    const failures: Error[] = [];
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step.undo();
      } catch (error) {
        failures.push(new Error(`Cannot undo "${step.name}"`, { cause: error }));
      }
    }
    if (failures.length === 0) return cause;
    const message = cause instanceof Error ? cause.message : String(cause);
    return new AggregateError([cause, ...failures], `${message} (and undoing it failed)`, {
      cause,
    });
  }
}
