import * as v from 'valibot';
import { parseQuantity } from './quantity.js';

/** Text of the issue that a field yields which Kubernetes knows and this version of cais does not run. */
export const NOT_SUPPORTED = 'Not supported yet';

/** Fields that Kubernetes defines but cais refuses, by name: they are never ignored silently. */
export function notSupported<const Name extends string>(
  ...names: readonly Name[]
): { [K in Name]: v.OptionalSchema<v.NeverSchema<string>, undefined> } {
  const entries = names.map((name) => [name, v.optional(v.never(NOT_SUPPORTED))]);
  return Object.fromEntries(entries) as {
    [K in Name]: v.OptionalSchema<v.NeverSchema<string>, undefined>;
  };
}

/** A string from a fixed set, refused as Kubernetes words it. */
export function oneOf<const Values extends readonly string[]>(...values: Values) {
  const supported = [...values].sort().map((value) => `"${value}"`);
  return v.picklist(
    values,
    (issue) => `Unsupported value: ${issue.received}: supported values: ${supported.join(', ')}`,
  );
}

/**
 * As {@link oneOf}, for sets of which Kubernetes knows more than cais: `later` values are refused as not supported yet.
 */
export function oneOfSoFar<const Values extends readonly string[]>(
  values: Values,
  later: readonly string[],
) {
  const supported = [...values].sort().map((value) => `"${value}"`);
  return v.picklist(values, (issue) =>
    later.includes(String(issue.input))
      ? `${NOT_SUPPORTED}: ${issue.received}; supported values: ${supported.join(', ')}`
      : `Unsupported value: ${issue.received}: supported values: ${supported.join(', ')}`,
  );
}

/** Whole number in a range, both ends included. */
export function integerBetween(min: number, max: number) {
  const message = `must be between ${min} and ${max}, inclusive`;
  return v.pipe(
    v.number(),
    v.check((value) => Number.isSafeInteger(value) && value >= min && value <= max, message),
  );
}

/** A string whose problem `problemOf` names. */
export function checkedString(problemOf: (text: string) => string | undefined) {
  return v.pipe(
    v.string(),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      const problem = problemOf(dataset.value);
      if (problem !== undefined) addIssue({ message: problem });
    }),
  );
}

/** A string without NUL, which neither exec nor a path can carry. */
export const text = checkedString((value) =>
  value.includes('\0') ? 'must not contain a NUL character' : undefined,
);

/** An absolute path inside a container or on the node. */
export const absolutePath = checkedString((value) => {
  if (value === '') return 'Required value';
  if (value.includes('\0')) return 'must not contain a NUL character';
  return value.startsWith('/') ? undefined : 'must be an absolute path';
});

/** A resource amount that is not negative; the text stays as written. */
export const quantity = v.pipe(
  v.union([v.string(), v.number()], 'expected a quantity such as 500m or 128Mi'),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    try {
      if (parseQuantity(dataset.value).nanos < 0n)
        addIssue({ message: 'must be greater than or equal to 0' });
    } catch (error) {
      addIssue({ message: error instanceof Error ? error.message : String(error) });
    }
  }),
);

/** A user or group id. */
export const numericId = integerBetween(0, 2 ** 31 - 1);
