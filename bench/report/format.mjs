/** @param {number} seconds */
export function formatSeconds(seconds) {
  return seconds.toFixed(seconds < 10 ? 2 : 1);
}

/** @param {number} bytes in MiB */
export function formatMebibytes(bytes) {
  return Math.round(bytes / 2 ** 20).toLocaleString('en');
}

/** @param {number} bytes in MB, as packages and images are usually described */
export function formatMegabytes(bytes) {
  return (bytes / 1e6).toLocaleString('en', { maximumFractionDigits: bytes < 1e7 ? 1 : 0 });
}

/** @param {number | undefined} ratio */
export function formatRatio(ratio) {
  if (ratio === undefined || !Number.isFinite(ratio)) return '';
  return ratio.toFixed(ratio < 10 ? 2 : 1);
}

/**
 * A table of Markdown. Columns after the first are numbers unless they are named in `texts`.
 * @param {readonly string[]} header
 * @param {readonly (readonly string[])[]} rows
 * @param {readonly string[]} [texts]
 */
export function formatTable(header, rows, texts = []) {
  const rule = header.map((name, index) => (index === 0 || texts.includes(name) ? '---' : '---:'));
  return [header, rule, ...rows]
    .map(
      (cells) =>
        `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`,
    )
    .join('\n');
}
