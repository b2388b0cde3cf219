/** Cgroup files are read on a few threads; more at once only makes garbage. */
const CONCURRENCY = 16;

/** Results in the order of the items, a bounded number of them at a time. */
export async function mapConcurrently<T, R>(
  items: readonly T[],
  action: (item: T) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  const work = async () => {
    while (next < items.length) {
      const index = next++;
      results[index] = await action(items[index] as T);
    }
  };
  await Promise.all(Array.from({ length: Math.min(CONCURRENCY, items.length) }, work));
  return results;
}
