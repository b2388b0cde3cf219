/** One value of a metric, with the labels that only this metric has. */
export interface MetricValue {
  readonly labels: readonly string[];
  readonly value: number;
}

/** A metric: what a kubelet hands on to Prometheus under the name that cAdvisor has made usual. Values are whole numbers, as the interface wants it. */
export interface MetricDefinition<Source> {
  readonly name: string;
  readonly help: string;
  readonly kind: 'counter' | 'gauge';
  /** Keys after those that every metric has. */
  readonly labelKeys: readonly string[];
  readonly read: (source: Source) => readonly MetricValue[];
}

/** Labels of every metric: cgroup, id, image, and the names that a kubelet knows. */
export const COMMON_LABEL_KEYS = ['id', 'name', 'image', 'container', 'pod', 'namespace'] as const;

type Reading<Source> = (source: Source) => number;

/** A metric that only grows. */
export function counter<Source>(
  name: string,
  help: string,
  read: Reading<Source>,
): MetricDefinition<Source> {
  return { name, help, kind: 'counter', labelKeys: [], read: (source) => [only(read(source))] };
}

/** A metric that goes up and down. */
export function gauge<Source>(
  name: string,
  help: string,
  read: Reading<Source>,
): MetricDefinition<Source> {
  return { name, help, kind: 'gauge', labelKeys: [], read: (source) => [only(read(source))] };
}

function only(value: number): MetricValue {
  return { labels: [], value };
}
