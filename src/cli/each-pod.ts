import { describeError } from '../errors.js';

/**
 * Does the same to several pods at once. One that fails does not keep the others from it.
 * @throws the only error, or one that lists all.
 */
export async function forEachPod(
  names: readonly string[],
  action: (name: string) => Promise<void>,
): Promise<void> {
  const outcomes = await Promise.allSettled([...new Set(names)].map(action));
  const errors = outcomes.filter((one) => one.status === 'rejected').map(({ reason }) => reason);
  if (errors.length > 1) throw new AggregateError(errors, errors.map(describeError).join('\n'));
  if (errors.length === 1) throw errors[0];
}
