/** One column of a table: its heading, and what it shows of a row. */
export interface Column<T> {
  readonly heading: string;
  readonly cell: (row: T) => string;
}

/** Rows in aligned columns with headings, two spaces apart, without spaces at the end of a line. */
export function formatTable<T>(columns: readonly Column<T>[], rows: readonly T[]): string {
  const lines = [
    columns.map(({ heading }) => heading),
    ...rows.map((row) => columns.map(({ cell }) => cell(row))),
  ];
  const widths = columns.map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0)));
  const format = (line: readonly string[]) =>
    line
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd();
  return `${lines.map(format).join('\n')}\n`;
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/** Bytes for a person, in powers of 1000 as registries and disks count: `12.3 MB`. */
export function formatBytes(bytes: number): string {
  const unit = bytes < 1000 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), UNITS.length - 1);
  const value = bytes / 1000 ** unit;
  return `${unit === 0 || value >= 1000 ? Math.round(value) : value.toPrecision(3)} ${UNITS[unit]}`;
}

const AGES: readonly (readonly [string, number])[] = [
  ['year', 365 * 86_400],
  ['month', 30 * 86_400],
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
  ['second', 1],
];

/** Time since an RFC 3339 time: `3 days ago`; empty when the text is no time. */
export function formatAge(time: string, nowMs: number): string {
  const seconds = Math.max((nowMs - Date.parse(time)) / 1000, 0);
  if (Number.isNaN(seconds)) return '';
  const [unit, length] = AGES.find(([, each]) => seconds >= each) ?? ['second', 1];
  const count = Math.floor(seconds / length);
  return `${count} ${unit}${count === 1 ? '' : 's'} ago`;
}
