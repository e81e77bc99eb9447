// Bars of several series, one on the other: a bar for each day of UTC. A table beside it has the same figures for whoever can't see it.

import { h, svg } from './dom.js';
import { grouped, share } from './exact.js';
import { dayInWords, shortDay } from './times.js';

/** @typedef {{name: string, values: bigint[]}} Series A value for each day, 0 or more. */

// In CSS pixels.
const HEIGHT = 220;
const LEFT = 60;
const TOP = 12;
const BOTTOM = 26;
const LEAST_WIDTH = 260;
/** The room that a day's name needs. */
const NAME_WIDTH = 64;

const COMPACT = new Intl.NumberFormat(undefined, { notation: 'compact', maximumSignificantDigits: 3 });

/**
 * @param {object} options
 * @param {string} options.id
 * @param {string} options.what What the bars measure.
 * @param {string[]} options.days At least one.
 * @param {Series[]} options.series At most six: each has a colour.
 * @returns {HTMLElement}
 */
export function plot({ id, what, days, series }) {
  const span = `${dayInWords(days[0])} to ${dayInWords(days[days.length - 1])} (UTC)`;
  const figure = h('figure', { id, class: 'plot' });
  const caption = h('figcaption', {}, `${what} by day and model, ${span}`);
  const label = `${what} by day and model, ${span}, as bars. The tables after it have the figures.`;
  let drawnFor = 0;
  // A drawing that is only made smaller has names that nobody can read.
  new ResizeObserver(() => {
    const width = Math.max(LEAST_WIDTH, Math.floor(figure.clientWidth));
    if (width === drawnFor) return;
    drawnFor = width;
    figure.replaceChildren(bars(width, label, days, series), caption);
  }).observe(figure);
  return figure;
}

/**
 * @param {number} width
 * @param {string} label
 * @param {string[]} days
 * @param {Series[]} series
 */
function bars(width, label, days, series) {
  const sums = days.map((_, day) => series.reduce((sum, { values }) => sum + values[day], 0n));
  const top = roundAbove(sums.reduce((most, sum) => (sum > most ? sum : most), 1n));
  const room = HEIGHT - TOP - BOTTOM;
  const y = (/** @type {bigint} */ value) => TOP + room * (1 - share(value, top));
  const step = (width - LEFT) / days.length;
  const drawing = svg('svg', { role: 'img', 'aria-label': label, viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT });

  for (const value of top % 2n === 0n ? [0n, top / 2n, top] : [0n, top]) {
    drawing.append(
      svg('line', { class: 'rule', x1: LEFT, x2: width, y1: y(value), y2: y(value) }),
      svg('text', { x: LEFT - 8, y: y(value) + 4, 'text-anchor': 'end' }, COMPACT.format(value)),
    );
  }
  const each = Math.max(1, Math.ceil(NAME_WIDTH / step));
  days.forEach((day, index) => {
    if (index % each === 0 && LEFT + index * step + NAME_WIDTH <= width + step) {
      drawing.append(svg('text', { x: LEFT + index * step, y: HEIGHT - 8 }, shortDay(day)));
    }
    let below = 0n;
    series.forEach(({ name, values }, its) => {
      const value = values[index];
      if (value === 0n) return;
      const height = Math.max(0.5, y(below) - y(below + value));
      const bar = { x: LEFT + index * step + step * 0.1, y: y(below) - height, width: Math.max(1, step * 0.8), height };
      const said = `${dayInWords(day)} (UTC), ${name}: ${grouped(value)}`;
      drawing.append(svg('rect', { class: `series-${its + 1}`, ...bar }, svg('title', {}, said)));
      below += value;
    });
  });
  return drawing;
}

/** What the top of the plot may be: these, ten times these, and so on. */
const TOPS = [10n, 12n, 16n, 20n, 30n, 40n, 50n, 60n, 80n];

/**
 * The smallest top that is no less; of few the value itself.
 * @param {bigint} value At least 1.
 */
function roundAbove(value) {
  if (value < TOPS[0]) return value;
  for (let unit = 1n; ; unit *= 10n) {
    const top = TOPS.find((each) => each * unit >= value);
    if (top) return top * unit;
  }
}
