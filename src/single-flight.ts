/**
 * Runs each keyed job once at a time: callers that come while it runs share its result. A caller whose signal fires leaves alone;
 * the job is aborted only when its last caller has left.
 */
export class SingleFlight<T> {
  readonly #flights = new Map<string, Flight<T>>();

  /**
   * Joins the running job `key`, or starts it.
   * @throws What `work` throws, or the reason of `signal`.
   */
  run(
    key: string,
    work: (signal: AbortSignal) => Promise<T>,
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<T> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    let flight = this.#flights.get(key);
    if (flight === undefined) {
      flight = new Flight(work);
      this.#flights.set(key, flight);
      const forget = () => {
        if (this.#flights.get(key) === flight) this.#flights.delete(key);
      };
      flight.result.then(forget, forget);
      flight.aborted.addEventListener('abort', forget, { once: true });
    }
    return flight.join(signal);
  }

  /** Whether a job is running under this key. */
  has(key: string): boolean {
    return this.#flights.has(key);
  }
}

class Flight<T> {
  readonly result: Promise<T>;
  readonly #controller = new AbortController();
  #waiters = 0;

  constructor(work: (signal: AbortSignal) => Promise<T>) {
    this.result = Promise.resolve().then(() => work(this.#controller.signal));
  }

  get aborted(): AbortSignal {
    return this.#controller.signal;
  }

  async join(signal: AbortSignal | undefined): Promise<T> {
    this.#waiters++;
    let leave: (() => void) | undefined;
    try {
      if (signal === undefined) return await this.result;
      const left = new Promise<'left'>((resolve) => {
        leave = () => resolve('left');
        signal.addEventListener('abort', leave, { once: true });
      });
      const first = await Promise.race([this.result.then((value) => ({ value })), left]);
      if (first !== 'left') return first.value;
      // The last caller waits for the job to clean up behind itself; the others are free at once.
      if (this.#waiters === 1) {
        this.#controller.abort(signal.reason);
        await this.result.catch(() => undefined);
      }
      throw signal.reason;
    } finally {
      this.#waiters--;
      if (leave !== undefined) signal?.removeEventListener('abort', leave);
    }
  }
}
