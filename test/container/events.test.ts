import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type ContainerEvent,
  ContainerEvents,
  EVENT_BACKLOG,
  EventsLostError,
} from '../../src/container/events.js';
import type { ContainerRecord } from '../../src/container/state.js';
import type { Collection } from '../../src/record-store.js';
import type { SandboxRecord } from '../../src/sandbox/sandbox-record.js';
import { EngineRig, type FakeEngine } from '../fakes/engine-rig.js';

/** Records in memory. */
function memory<T>(): Collection<T> {
  const records = new Map<string, T>();
  const collection: Collection<T> = {
    get: (id) => records.get(id),
    has: (id) => records.has(id),
    list: () => [...records].map(([id, value]) => ({ id, value })),
    put: async (id, value) => void records.set(id, value),
    remove: async (id) => void records.delete(id),
    update: async (id, change) => {
      const next = change(records.get(id));
      if (next === undefined) records.delete(id);
      else records.set(id, next);
      return next;
    },
  };
  return collection;
}

const container = (state: ContainerRecord['state']) =>
  ({ id: 'c', sandboxId: 's', state }) as unknown as ContainerRecord;
const sandbox = (state: SandboxRecord['state']) => ({ id: 's', state }) as unknown as SandboxRecord;

async function take(events: AsyncIterable<ContainerEvent>, count: number): Promise<string[]> {
  const taken: string[] = [];
  for await (const { kind, containerId, sandboxId } of events) {
    taken.push(`${kind} ${containerId} ${sandboxId}`);
    if (taken.length === count) break;
  }
  return taken;
}

describe('ContainerEvents', () => {
  it('follow a container through its states', async () => {
    const events = new ContainerEvents();
    const records = events.containers(memory());
    const stream = events.subscribe();
    await records.put('c', container('creating'));
    await records.put('c', container('created'));
    await records.update('c', (current) => current && { ...current, state: 'running' });
    await records.update('c', (current) => current && { ...current, state: 'unknown' });
    await records.update('c', (current) => current && { ...current, state: 'running' });
    await records.update('c', (current) => current && { ...current, state: 'exited' });
    await records.update('c', (current) => current);
    await records.remove('c');
    await records.remove('c');
    const all = ['created c s', 'started c s', 'stopped c s', 'deleted c s'];
    expect(await take(stream, 4)).toEqual(all);
  });

  it('a life that ends before its start is answered has all its events, one that never began has not', async () => {
    const events = new ContainerEvents();
    const records = events.containers(memory());
    const stream = events.subscribe();
    const exited = (startedAtNanos: string) =>
      ({ ...container('exited'), exit: { startedAtNanos } }) as ContainerRecord;
    await records.put('c', container('created'));
    await records.update('c', () => exited('1795664438903000000'));
    await records.put('d', container('created'));
    await records.update('d', () => exited('0'));
    expect(await take(stream, 5)).toEqual([
      'created c s',
      'started c s',
      'stopped c s',
      'created d s',
      'stopped d s',
    ]);
  });

  it('follow a sandbox, and are silent about what was never finished', async () => {
    const events = new ContainerEvents();
    const containers = events.containers(memory());
    const sandboxes = events.sandboxes(memory());
    const stream = events.subscribe();
    await sandboxes.put('x', sandbox('initializing'));
    await sandboxes.remove('x');
    await containers.put('y', container('creating'));
    await containers.remove('y');
    await sandboxes.put('s', sandbox('initializing'));
    await sandboxes.put('s', sandbox('ready'));
    await sandboxes.update('s', (current) => current && { ...current, state: 'notready' });
    await sandboxes.remove('s');
    const all = ['created s s', 'started s s', 'stopped s s', 'deleted s s'];
    expect(await take(stream, 4)).toEqual(all);
  });

  it('an end that another process recorded first is told all the same, once', async () => {
    const events = new ContainerEvents();
    const shared = memory<ContainerRecord>();
    const records = events.containers(shared);
    await records.put('c', container('created'));
    await records.put('c', container('running'));
    const stream = events.subscribe();
    await shared.put('c', container('exited'));
    await records.update('c', (current) => current);
    await records.update('c', (current) => current);
    await records.remove('c');
    expect(await take(stream, 2)).toEqual(['stopped c s', 'deleted c s']);
  });

  it('times differ and rise', async () => {
    const events = new ContainerEvents();
    const records = events.containers(memory());
    const stream = events.subscribe()[Symbol.asyncIterator]();
    const times: bigint[] = [];
    for (const state of ['created', 'running', 'exited'] as const) {
      await records.put('c', container(state));
      times.push((await stream.next()).value.createdAtNanos);
    }
    expect(new Set(times).size).toBe(3);
    expect([...times].sort()).toEqual(times);
  });

  it('a slow reader gets every event up to the bound, then an error that says so', async () => {
    const events = new ContainerEvents();
    const records = events.containers(memory());
    const slow = events.subscribe()[Symbol.asyncIterator]();
    const other = events.subscribe()[Symbol.asyncIterator]();
    for (let count = 0; count <= EVENT_BACKLOG; count += 1) {
      await records.put(`c${count}`, container('created'));
      await other.next();
    }
    for (let count = 0; count < EVENT_BACKLOG; count += 1) {
      expect((await slow.next()).value.containerId).toBe(`c${count}`);
    }
    await expect(slow.next()).rejects.toThrow(EventsLostError);
    await expect(slow.next()).resolves.toMatchObject({ done: true });
    // The others are not concerned.
    await records.put('later', container('created'));
    expect((await other.next()).value.containerId).toBe('later');
  });

  it('a waiting reader ends with its signal, with close(), and by return()', async () => {
    const events = new ContainerEvents();
    const abort = new AbortController();
    const first = events.subscribe({ signal: abort.signal })[Symbol.asyncIterator]();
    const waiting = first.next();
    abort.abort();
    await expect(waiting).resolves.toMatchObject({ done: true });
    const second = events.subscribe()[Symbol.asyncIterator]();
    const ended = second.next();
    events.close();
    await expect(ended).resolves.toMatchObject({ done: true });
    const third = events.subscribe()[Symbol.asyncIterator]();
    await third.return?.();
    await expect(third.next()).resolves.toMatchObject({ done: true });
    const never = events.subscribe({ signal: AbortSignal.abort() })[Symbol.asyncIterator]();
    await expect(never.next()).resolves.toMatchObject({ done: true });
  });

  it('what recovery found goes to the first who subscribes', async () => {
    const events = new ContainerEvents();
    const records = events.containers(memory());
    await records.put('c', container('exited'));
    events.opened();
    await records.put('d', container('created'));
    const first = events.subscribe();
    const second = events.subscribe();
    await records.put('e', container('created'));
    expect(await take(first, 3)).toEqual(['created c s', 'stopped c s', 'created e s']);
    expect(await take(second, 1)).toEqual(['created e s']);
  });
});

describe('events of services', () => {
  let rig: EngineRig;
  let engine: FakeEngine;

  beforeEach(async () => {
    rig = await EngineRig.open();
    engine = rig.engine();
  });
  afterEach(() => rig.close());

  it('a pod that comes and goes', async () => {
    const stream = engine.events.subscribe();
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig());
    const { id } = await engine.containers.create(sandboxId, rig.containerConfig());
    await engine.containers.start(id);
    rig.machine.supervisor(sandboxId).exit(id, 0);
    await engine.containers.wait(id);
    await engine.sandboxes.remove(sandboxId);
    expect(await take(stream, 8)).toEqual([
      `created ${sandboxId} ${sandboxId}`,
      `started ${sandboxId} ${sandboxId}`,
      `created ${id} ${sandboxId}`,
      `started ${id} ${sandboxId}`,
      `stopped ${id} ${sandboxId}`,
      `stopped ${sandboxId} ${sandboxId}`,
      `deleted ${id} ${sandboxId}`,
      `deleted ${sandboxId} ${sandboxId}`,
    ]);
  });

  it('an exit that happened while no engine ran is told by the next one', async () => {
    const { id: sandboxId } = await engine.sandboxes.run(rig.sandboxConfig());
    const { id } = await engine.containers.create(sandboxId, rig.containerConfig());
    await engine.containers.start(id);
    await engine.close();
    rig.machine.supervisor(sandboxId).exit(id, 7);
    const next = rig.engine();
    const stream = next.events.subscribe();
    await next.recover();
    expect(await take(stream, 1)).toEqual([`stopped ${id} ${sandboxId}`]);
  });
});
