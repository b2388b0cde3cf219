import { describe, expect, it } from 'vitest';
import { SingleFlight } from '../src/single-flight.js';

/** A job that ends when the test says so. */
function makeJob() {
  let end: (value: string) => void = () => undefined;
  let fail: (error: Error) => void = () => undefined;
  const signals: AbortSignal[] = [];
  const work = (signal: AbortSignal) => {
    signals.push(signal);
    return new Promise<string>((resolve, reject) => {
      [end, fail] = [resolve, reject];
      signal.addEventListener('abort', () => reject(signal.reason));
    });
  };
  return { work, signals, end: (value: string) => end(value), fail: (error: Error) => fail(error) };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('SingleFlight', () => {
  it('runs a job once for all callers of a key, and anew afterwards', async () => {
    const flights = new SingleFlight<string>();
    const job = makeJob();
    const both = [flights.run('a', job.work), flights.run('a', job.work)];
    const other = flights.run('b', async () => 'other');
    await turn();
    expect(job.signals).toHaveLength(1);
    expect(flights.has('a')).toBe(true);
    job.end('done');
    expect(await Promise.all([...both, other])).toEqual(['done', 'done', 'other']);
    expect(flights.has('a')).toBe(false);
    expect(await flights.run('a', async () => 'again')).toBe('again');
  });

  it('gives a failure to every caller, and forgets it', async () => {
    const flights = new SingleFlight<string>();
    const job = makeJob();
    const both = [flights.run('a', job.work), flights.run('a', job.work)];
    await turn();
    job.fail(new Error('broken'));
    for (const each of both) await expect(each).rejects.toThrow('broken');
    expect(await flights.run('a', async () => 'again')).toBe('again');
  });

  it('lets one caller leave alone, and aborts the job with the last', async () => {
    const flights = new SingleFlight<string>();
    const job = makeJob();
    const [one, two] = [new AbortController(), new AbortController()];
    const first = flights.run('a', job.work, { signal: one.signal });
    const second = flights.run('a', job.work, { signal: two.signal });
    await turn();
    one.abort(new Error('first left'));
    await expect(first).rejects.toThrow('first left');
    expect(job.signals[0]?.aborted).toBe(false);
    two.abort(new Error('second left'));
    await expect(second).rejects.toThrow('second left');
    expect(job.signals[0]?.aborted).toBe(true);
    expect(flights.has('a')).toBe(false);
  });

  it('does not abort for a caller that leaves while another without a signal waits', async () => {
    const flights = new SingleFlight<string>();
    const job = makeJob();
    const one = new AbortController();
    const first = flights.run('a', job.work, { signal: one.signal });
    const second = flights.run('a', job.work);
    await turn();
    one.abort(new Error('left'));
    await expect(first).rejects.toThrow('left');
    job.end('done');
    expect(await second).toBe('done');
  });

  it('starts a new job for whoever comes after the abort, while the old one cleans up', async () => {
    const flights = new SingleFlight<string>();
    const controller = new AbortController();
    let cleaned: () => void = () => undefined;
    const first = flights.run(
      'a',
      () =>
        new Promise((_, reject) => {
          cleaned = () => reject(new Error('cleaned'));
        }),
      { signal: controller.signal },
    );
    await turn();
    controller.abort(new Error('left'));
    await turn();
    expect(await flights.run('a', async () => 'new')).toBe('new');
    cleaned();
    await expect(first).rejects.toThrow('left');
  });

  it('starts nothing for a signal that has fired', async () => {
    const flights = new SingleFlight<string>();
    const signal = AbortSignal.abort(new Error('before'));
    await expect(flights.run('a', async () => 'never', { signal })).rejects.toThrow('before');
    expect(flights.has('a')).toBe(false);
  });
});
