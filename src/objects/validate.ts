import * as v from 'valibot';
import { RuntimeError } from '../errors.js';
import { NOT_SUPPORTED } from './fields.js';
import type { FieldPath, ManifestObject } from './manifest.js';
import { checkPodRules } from './pod-rules.js';
import { type PodManifest, podManifest } from './pod-schema.js';

/** Most problems that one error lists; the rest is counted. */
const MAX_ISSUES = 50;
/** Longest piece of a refused value that a message repeats. */
const MAX_SHOWN = 60;

/** One thing wrong with an object, in the words of the Kubernetes API server. */
export interface FieldIssue {
  /** `spec.containers[0].image` */
  readonly fieldPath: string;
  /** One-based line of the manifest; absent when the object did not come from text. */
  readonly line: number | undefined;
  /** `Required value`, `Invalid value: …`, `Unsupported value: …`, `Not supported yet`, `Unknown field`. */
  readonly message: string;
}

/** An object does not describe a Pod that cais can run (`INVALID_OBJECT`). All problems are listed. */
export class ValidationError extends RuntimeError {
  readonly issues: readonly FieldIssue[];

  constructor(source: string | undefined, issues: readonly FieldIssue[]) {
    const shown = issues.slice(0, MAX_ISSUES).map(({ fieldPath, line, message }) => {
      const place =
        source === undefined ? '' : `${source}${line === undefined ? '' : `:${line}`}: `;
      return `${place}${fieldPath}: ${message}`;
    });
    const hidden = issues.length - shown.length;
    if (hidden > 0) shown.push(`and ${hidden} more`);
    super('INVALID_OBJECT', `The Pod is invalid:\n  ${shown.join('\n  ')}`);
    this.issues = issues;
  }
}

/**
 * Checks that `object` is a Pod which cais can run whole: unknown fields, wrong types, values out of range, and fields of Kubernetes
 * that cais does not run are all refused, so that nothing is ignored silently.
 * @param object one object of a manifest, or plain data built by a program.
 * @throws ValidationError with every problem found.
 */
export function validatePod(object: ManifestObject | { readonly value: unknown }): PodManifest {
  const located = 'lineOf' in object ? object : undefined;
  const issues: FieldIssue[] = [];
  const report = (path: FieldPath, message: string): void => {
    issues.push({ fieldPath: formatPath(path), line: located?.lineOf(path), message });
  };
  const result = v.safeParse(podManifest, object.value);
  if (result.success) checkPodRules(result.output, report);
  else for (const issue of result.issues) report(pathOf(issue), messageOf(issue));
  issues.sort((one, other) => (one.line ?? 0) - (other.line ?? 0));
  if (issues.length > 0 || !result.success) throw new ValidationError(located?.source, issues);
  return result.output;
}

/** `['spec', 'containers', 0, 'image']` as `spec.containers[0].image`; keys that are no identifiers in brackets. */
export function formatPath(path: FieldPath): string {
  if (path.length === 0) return '<root>';
  return path
    .map((step, index) => {
      if (typeof step === 'number') return `[${step}]`;
      if (!/^[A-Za-z_][A-Za-z0-9_-]*$/.test(step))
        return `[${JSON.stringify(step.slice(0, MAX_SHOWN))}]`;
      return index === 0 ? step : `.${step}`;
    })
    .join('');
}

function pathOf(issue: v.BaseIssue<unknown>): FieldPath {
  return (issue.path ?? []).map(({ key }) => (typeof key === 'number' ? key : String(key)));
}

function messageOf(issue: v.BaseIssue<unknown>): string {
  if (issue.kind === 'schema' && issue.type === 'strict_object') {
    if (issue.expected === 'never') return 'Unknown field';
    if (issue.received === 'undefined') return 'Required value';
  }
  if (issue.message.startsWith(NOT_SUPPORTED) || issue.message === 'Required value')
    return issue.message;
  if (issue.message.startsWith('Unsupported value')) return issue.message;
  if (issue.kind === 'schema' && issue.type !== 'union') {
    return `Invalid value: ${shown(issue.input)}: expected ${typeName(issue.expected)}, received ${kindOf(issue.input)}${hint(issue)}`;
  }
  return `Invalid value: ${shown(issue.input)}: ${issue.message}`;
}

/** Why YAML made another type of it than its author meant. */
function hint(issue: v.BaseIssue<unknown>): string {
  const { input } = issue;
  if (issue.expected === 'string' && (typeof input === 'number' || typeof input === 'boolean')) {
    return ' (write it in quotes)';
  }
  return issue.expected === 'boolean' && typeof input === 'string' ? ' (write true or false)' : '';
}

function typeName(expected: string | null): string {
  const names: Readonly<Record<string, string>> = { Object: 'a map', Array: 'a list' };
  return names[expected ?? ''] ?? `a ${expected ?? 'value'}`;
}

function kindOf(input: unknown): string {
  if (Array.isArray(input)) return 'a list';
  if (input === null) return 'null';
  if (typeof input === 'undefined') return 'nothing';
  return typeof input === 'object' ? 'a map' : `a ${typeof input}`;
}

function shown(input: unknown): string {
  const json =
    JSON.stringify(input, (_key, value) => (typeof value === 'bigint' ? String(value) : value)) ??
    'null';
  return json.length > MAX_SHOWN ? `${json.slice(0, MAX_SHOWN)}…` : json;
}
