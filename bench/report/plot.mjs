/**
 * One bar of a plot.
 * @typedef {object} Bar
 * @property {string} label
 * @property {number} value in seconds
 * @property {number} min
 * @property {number} max
 * @property {'cais' | 'verifies' | 'unverified'} kind
 */

/**
 * @typedef {object} Panel
 * @property {string} title
 * @property {readonly Bar[]} bars from top to bottom
 * @property {readonly { readonly label: string, readonly value: number }[]} limits drawn as vertical lines
 */

const WIDTH = 880;
const MARGIN = 24;
const ROW = 26;
const BAR = 16;
/** Room for the number behind the longest bar. */
const VALUE_WIDTH = 78;
/** A generous average of a sans-serif letter at 13 pixels. */
const LETTER = 7;
/** Bars longer than this many medians are cut off, so that one very slow contestant leaves the others visible. */
const CUT_AT_MEDIANS = 3;

/** A card of its own background, so that it can be read wherever it is shown; viewers that know the reader's preference get the dark one. */
const STYLE = `
    .card { fill: #ffffff; stroke: #d0d7de; }
    text { font-family: -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif; font-size: 13px; fill: #1f2328; }
    .title { font-size: 17px; font-weight: 600; }
    .panel { font-size: 14px; font-weight: 600; }
    .note { font-size: 12px; fill: #59636e; }
    .strong { font-weight: 600; }
    .value { stroke: #ffffff; stroke-width: 3px; paint-order: stroke; }
    .grid { stroke: #d0d7de; stroke-width: 1; }
    .cais { fill: #0a7ea4; }
    .verifies { fill: #8c959f; }
    .unverified { fill: #cfd5db; }
    .spread { stroke: #1f2328; stroke-width: 1.2; }
    .cut { stroke: #ffffff; stroke-width: 3; }
    .limit { stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 5 3; }
    .limit-label { font-size: 12px; fill: #cf222e; }
    @media (prefers-color-scheme: dark) {
      .card { fill: #151b23; stroke: #3d444d; }
      text { fill: #f0f6fc; }
      .note { fill: #9198a1; }
      .value { stroke: #151b23; }
      .grid { stroke: #3d444d; }
      .cais { fill: #39b6de; }
      .verifies { fill: #768390; }
      .unverified { fill: #444c56; }
      .spread { stroke: #f0f6fc; }
      .cut { stroke: #151b23; }
      .limit { stroke: #ff7b72; }
      .limit-label { fill: #ff7b72; }
    }`;

const KINDS = /** @type {const} */ ([
  ['cais', 'cais (verifies everything)'],
  ['verifies', 'verifies both digests'],
  ['unverified', 'verifies less or nothing'],
]);

/**
 * A plot of horizontal bars, one panel below the other, as SVG.
 * @param {{ readonly title: string, readonly subtitle: string, readonly panels: readonly Panel[] }} plot
 */
export function renderPlot({ title, subtitle, panels }) {
  const letters = Math.max(
    ...panels.flatMap(({ bars }) => bars.map(({ label }) => label.length)),
    1,
  );
  const left = MARGIN + Math.min(letters * LETTER, 340) + 10;
  /** @type {string[]} */
  const body = [
    text({ x: MARGIN, y: 36, className: 'title' }, title),
    text({ x: MARGIN, y: 57, className: 'note' }, subtitle),
    renderLegend(panels),
  ];
  let top = 92;
  for (const panel of panels) {
    const { svg, height } = renderPanel(panel, { left, top });
    body.push(svg);
    top += height;
  }
  const height = top + 4;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escapeXml(title)}">
  <style>${STYLE}
  </style>
  <rect class="card" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="8"/>
${body.join('\n')}
</svg>
`;
}

/** @param {readonly Panel[]} panels */
function renderLegend(panels) {
  const present = new Set(panels.flatMap(({ bars }) => bars.map(({ kind }) => kind)));
  let x = MARGIN;
  const items = KINDS.filter(([kind]) => present.has(kind)).map(([kind, label]) => {
    const item = `  <rect class="${kind}" x="${x}" y="69" width="12" height="12" rx="2"/>\n${text({ x: x + 18, y: 80, className: 'note' }, label)}`;
    x += 18 + label.length * 6.4 + 24;
    return item;
  });
  return items.join('\n');
}

/**
 * @param {Panel} panel
 * @param {{ readonly left: number, readonly top: number }} position
 */
function renderPanel({ title, bars, limits }, { left, top }) {
  const right = WIDTH - MARGIN - VALUE_WIDTH;
  const end = axisEnd(bars);
  /** @param {number} value */
  const x = (value) => round(left + (Math.min(value, end) / end) * (right - left));
  const labelsTop = top + (title === '' ? 20 : 32);
  const rowsTop = labelsTop + limits.length * 17 + 4;
  const rowsBottom = rowsTop + bars.length * ROW;
  const ticks = axisTicks(end);
  const rows = bars.map((bar, index) => renderBar(bar, { left, y: rowsTop + index * ROW, x, end }));
  return {
    height: rowsBottom + 30 - top,
    svg: [
      ...(title === '' ? [] : [text({ x: MARGIN, y: top + 20, className: 'panel' }, title)]),
      ...ticks.map((tick) =>
        line('grid', { x1: x(tick), y1: rowsTop, x2: x(tick), y2: rowsBottom }),
      ),
      ...ticks.map((tick) =>
        text({ x: x(tick), y: rowsBottom + 16, className: 'note', anchor: 'middle' }, `${tick} s`),
      ),
      ...rows.map(({ shape }) => shape),
      ...limits.flatMap(({ label, value }, index) => {
        const y = labelsTop + index * 17;
        return [
          line('limit', { x1: x(value), y1: y - 9, x2: x(value), y2: rowsBottom }),
          text({ x: x(value) + 6, y: y + 1, className: 'limit-label' }, label),
        ];
      }),
      // Last, since a limit's line may pass behind them.
      ...rows.map(({ value }) => value),
    ].join('\n'),
  };
}

/**
 * @param {Bar} bar
 * @param {{ readonly left: number, readonly y: number, readonly x: (value: number) => number, readonly end: number }} place
 */
function renderBar(bar, { left, y, x, end }) {
  const middle = y + ROW / 2;
  const tip = x(bar.value);
  const isCut = bar.value > end;
  const strong = bar.kind === 'cais' ? 'strong' : '';
  const parts = [
    text({ x: left - 10, y: middle + 4.5, className: strong, anchor: 'end' }, bar.label),
    `  <rect class="${bar.kind}" x="${left}" y="${middle - BAR / 2}" width="${round(Math.max(tip - left, 1))}" height="${BAR}" rx="2"/>`,
  ];
  let behind = tip;
  if (isCut) {
    const cut = tip - 26;
    parts.push(
      line('cut', { x1: cut, y1: middle + BAR / 2 + 2, x2: cut + 8, y2: middle - BAR / 2 - 2 }),
    );
  } else if (bar.max > bar.min) {
    behind = Math.max(tip, x(bar.max));
    parts.push(line('spread', { x1: x(bar.min), y1: middle, x2: x(bar.max), y2: middle }));
    for (const value of [bar.min, bar.max]) {
      parts.push(line('spread', { x1: x(value), y1: middle - 3, x2: x(value), y2: middle + 3 }));
    }
  }
  const digits = bar.value < 10 ? 2 : 1;
  const position = { x: behind + 8, y: middle + 4.5, className: `value ${strong}`.trim() };
  return { shape: parts.join('\n'), value: text(position, `${bar.value.toFixed(digits)} s`) };
}

/** @param {readonly Bar[]} bars */
function axisEnd(bars) {
  const values = bars.map(({ value }) => value).sort((a, b) => a - b);
  const middle = values[values.length >> 1] ?? 1;
  const longest = Math.max(
    ...values.filter((value) => value <= middle * CUT_AT_MEDIANS),
    Number.MIN_VALUE,
  );
  // Some room for the spread; a single run that went wrong is cut off like a long bar.
  const shown = bars.filter(({ value }) => value <= longest);
  return Math.max(longest, ...shown.map(({ max }) => Math.min(max, longest * 1.25)));
}

/** Four to eight round numbers from zero. @param {number} end */
function axisTicks(end) {
  const magnitude = 10 ** Math.floor(Math.log10(end / 4));
  const step =
    [1, 2, 2.5, 5, 10].map((factor) => factor * magnitude).find((by) => end / by <= 7) ?? end;
  const ticks = [];
  for (let count = 0; count * step <= end; count++)
    ticks.push(Number((count * step).toPrecision(6)));
  return ticks;
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10;
}

/**
 * @param {{ readonly x: number, readonly y: number, readonly className?: string, readonly anchor?: string }} position
 * @param {string} content
 */
function text({ x, y, className = '', anchor = 'start' }, content) {
  const style = className === '' ? '' : ` class="${className}"`;
  return `  <text x="${round(x)}" y="${round(y)}"${style} text-anchor="${anchor}">${escapeXml(content)}</text>`;
}

/**
 * @param {string} className
 * @param {{ readonly x1: number, readonly y1: number, readonly x2: number, readonly y2: number }} ends
 */
function line(className, { x1, y1, x2, y2 }) {
  return `  <line class="${className}" x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}"/>`;
}

/** @param {string} content */
function escapeXml(content) {
  return content
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
