import { RuntimeError } from '../errors.js';
import type { Collection, WriteOptions } from '../record-store.js';
import type { SandboxRecord } from '../sandbox/sandbox-record.js';
import type { ContainerRecord } from './state.js';

/** Something that happened to a container or a sandbox. */
export interface ContainerEvent {
  readonly kind: 'created' | 'started' | 'stopped' | 'deleted';
  /** Of a sandbox's own event: the sandbox's id. */
  readonly containerId: string;
  readonly sandboxId: string;
  /** Nanoseconds since 1970, different for every event. */
  readonly createdAtNanos: bigint;
}

/** How many events wait for a reader. */
export const EVENT_BACKLOG = 4096;

/** A reader fell so far behind that events would have been lost; it must look at everything anew and subscribe again (`EVENTS_LOST`). */
export class EventsLostError extends RuntimeError {
  constructor() {
    super(
      'EVENTS_LOST',
      `Events were not read in time: more than ${EVENT_BACKLOG} were waiting. List everything, then subscribe again`,
    );
  }
}

/**
 * Events of one engine, made where records change: whatever is recorded by it is told, exits that are noticed late too. A sandbox has events as a
 * container has, under its own id: created and started when it is ready.
 */
export class ContainerEvents {
  readonly #subscriptions = new Set<Subscription>();
  /** Containers whose start was told here, and not yet their end: another process may have recorded that before us. */
  readonly #running = new Set<string>();
  #lastNanos = 0n;
  /** What is told while the engine opens, when nobody can have subscribed; undefined afterwards. */
  #early: ContainerEvent[] | undefined = [];
  /** What recovery told, for the first reader. */
  #unheard: readonly ContainerEvent[] = [];

  /** The engine is open: whoever subscribes first is told what its recovery found, such as exits while no engine ran. */
  opened(): void {
    this.#unheard = this.#early ?? [];
    this.#early = undefined;
  }

  /**
   * Events from now on: they are kept from this call on, not from the first read. The stream ends with the signal, or with an
   * EventsLostError after the events that were kept.
   */
  subscribe(options: { readonly signal?: AbortSignal } = {}): AsyncIterable<ContainerEvent> {
    const { signal } = options;
    const subscription = new Subscription(signal, () => this.#subscriptions.delete(subscription));
    if (signal?.aborted === true) return subscription;
    this.#subscriptions.add(subscription);
    for (const event of this.#unheard) subscription.push(event);
    this.#unheard = [];
    return subscription;
  }

  /** Ends all streams. */
  close(): void {
    for (const subscription of [...this.#subscriptions]) subscription.end();
  }

  /** The same collection, whose changes are told. */
  containers(records: Collection<ContainerRecord>): Collection<ContainerRecord> {
    return new ObservedCollection(records, (id, before, after) =>
      this.#containerChanged(id, before, after),
    );
  }

  /** The same collection, whose changes are told. */
  sandboxes(records: Collection<SandboxRecord>): Collection<SandboxRecord> {
    return new ObservedCollection(records, (id, before, after) =>
      this.#sandboxChanged(id, before, after),
    );
  }

  #containerChanged(
    containerId: string,
    before: ContainerRecord | undefined,
    after: ContainerRecord | undefined,
  ): void {
    const sandboxId = (after ?? before)?.sandboxId ?? '';
    const tell = (kind: ContainerEvent['kind']) => this.#tell(kind, { containerId, sandboxId });
    const from = before?.state ?? 'creating';
    const to = after?.state;
    if (to === undefined) {
      const wasRunning = this.#running.delete(containerId);
      if (from === 'creating') return;
      if (wasRunning) tell('stopped');
      tell('deleted');
      return;
    }
    if (from === 'creating' && to !== 'creating') tell('created');
    if (to === 'running' && from !== 'running' && from !== 'unknown') {
      this.#running.add(containerId);
      tell('started');
    }
    if (to !== 'exited') return;
    const wasRunning = this.#running.delete(containerId);
    const hasRun = (after?.exit?.startedAtNanos ?? '0') !== '0';
    // Its end was told before the answer to its start was read.
    if (hasRun && (from === 'creating' || from === 'created')) tell('started');
    if (wasRunning || from !== 'exited') tell('stopped');
  }

  #sandboxChanged(
    id: string,
    before: SandboxRecord | undefined,
    after: SandboxRecord | undefined,
  ): void {
    const tell = (kind: ContainerEvent['kind']) =>
      this.#tell(kind, { containerId: id, sandboxId: id });
    const from = before?.state ?? 'initializing';
    const to = after?.state;
    if (from === 'initializing' && to === 'ready') {
      tell('created');
      tell('started');
    }
    if (from === 'ready' && to !== 'ready') tell('stopped');
    if (to === undefined && from !== 'initializing') tell('deleted');
  }

  #tell(kind: ContainerEvent['kind'], about: { containerId: string; sandboxId: string }): void {
    const nowNanos = BigInt(Date.now()) * 1_000_000n;
    this.#lastNanos = nowNanos > this.#lastNanos ? nowNanos : this.#lastNanos + 1n;
    const event = { kind, ...about, createdAtNanos: this.#lastNanos };
    this.#early?.push(event);
    for (const subscription of [...this.#subscriptions]) subscription.push(event);
  }
}

/** One reader: a bounded queue, and the one promise on which it may be waiting. */
class Subscription implements AsyncIterable<ContainerEvent>, AsyncIterator<ContainerEvent> {
  readonly #queue: ContainerEvent[] = [];
  readonly #signal: AbortSignal | undefined;
  readonly #onEnd: () => void;
  readonly #onAbort = () => this.end();
  #wake: (() => void) | undefined;
  #ended = false;
  #lost = false;

  constructor(signal: AbortSignal | undefined, onEnd: () => void) {
    this.#signal = signal;
    this.#onEnd = onEnd;
    this.#ended = signal?.aborted === true;
    signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  push(event: ContainerEvent): void {
    if (this.#queue.length < EVENT_BACKLOG) this.#queue.push(event);
    else {
      this.#lost = true;
      this.end();
    }
    this.#wake?.();
  }

  /** No further events; those that wait are still read. */
  end(): void {
    this.#ended = true;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#onEnd();
    this.#wake?.();
  }

  [Symbol.asyncIterator](): AsyncIterator<ContainerEvent> {
    return this;
  }

  async next(): Promise<IteratorResult<ContainerEvent>> {
    for (;;) {
      const event = this.#signal?.aborted === true ? undefined : this.#queue.shift();
      if (event !== undefined) return { done: false, value: event };
      if (this.#lost && this.#signal?.aborted !== true) {
        this.#lost = false;
        throw new EventsLostError();
      }
      if (this.#ended) return { done: true, value: undefined };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  async return(): Promise<IteratorResult<ContainerEvent>> {
    this.#queue.length = 0;
    this.#lost = false;
    this.end();
    return { done: true, value: undefined };
  }
}

/** Records whose changes, once written, are told to somebody. */
class ObservedCollection<T> implements Collection<T> {
  readonly #records: Collection<T>;
  readonly #onChange: (id: string, before: T | undefined, after: T | undefined) => void;

  constructor(
    records: Collection<T>,
    onChange: (id: string, before: T | undefined, after: T | undefined) => void,
  ) {
    this.#records = records;
    this.#onChange = onChange;
  }

  get(id: string): T | undefined {
    return this.#records.get(id);
  }

  has(id: string): boolean {
    return this.#records.has(id);
  }

  list(): { readonly id: string; readonly value: T }[] {
    return this.#records.list();
  }

  async put(id: string, value: T, options?: WriteOptions): Promise<void> {
    await this.update(id, () => value, options);
  }

  async remove(id: string): Promise<void> {
    await this.update(id, () => undefined, { essential: true });
  }

  async update(
    id: string,
    change: (current: T | undefined) => T | undefined,
    options?: WriteOptions,
  ): Promise<T | undefined> {
    let before: T | undefined;
    const after = await this.#records.update(
      id,
      (current) => {
        before = current;
        return change(current);
      },
      options,
    );
    this.#onChange(id, before, after);
    return after;
  }
}
