// What was used, by day and by model.

import { chosen, chosenAccount, isOwner } from './account.js';
import { h, svg, theirs } from './dom.js';
import { form } from './form.js';
import { grouped, whole } from './exact.js';
import { namesIn } from './organizations.js';
import { plot } from './plot.js';
import { call } from './rpc.js';
import { table } from './table.js';
import { dayInWords, daysBetween } from './times.js';
import { loaded } from './view.js';

/**
 * What calls of one model used on one day.
 * @typedef {object} Row
 * @property {string} day Of UTC: `YYYY-MM-DD`.
 * @property {string} [model]
 * @property {string} [calls]
 * @property {string} [inputTokens]
 * @property {string} [outputTokens]
 * @property {string} [chargedCredits]
 */

/** @typedef {'chargedCredits' | 'calls' | 'inputTokens' | 'outputTokens'} Measure */
/** @typedef {{firstDay: string, lastDay: string, completeFromDay: string, rows?: Row[]}} Answer Days of UTC, both included. */

/** @type {Array<{value: Measure, label: string}>} */
const MEASURES = [
  { value: 'chargedCredits', label: 'Credits' },
  { value: 'calls', label: 'Calls' },
  { value: 'inputTokens', label: 'Input tokens' },
  { value: 'outputTokens', label: 'Output tokens' },
];

/** How many models have a colour of their own; those that used less are shown together. */
const OWN_COLOURS = 5;
const OTHERS = 'other models';

/** @type {import('./view.js').View} */
export const usageView = {
  path: 'usage',
  title: 'Usage',
  ofAccount: true,
  show(section, signal) {
    let measure = MEASURES[0];
    /** Whose calls are looked at; empty: everybody's. */
    let of = '';
    /** @type {Answer | undefined} */
    let answer;
    const read = async (/** @type {object} */ days) => {
      const read = /** @type {Answer} */ (await call('Accounts/GetUsage', of ? { ...days, userId: of } : days, signal));
      answer = read;
      return shown(read, measure);
    };
    const usage = loaded('usage', async () => {
      // Which days are the last ones, the server's clock says.
      const content = await read({});
      days.querySelectorAll('input').forEach((input, index) => {
        input.value = (index === 0 ? answer?.firstDay : answer?.lastDay) ?? '';
      });
      return content;
    });
    const days = form({
      id: 'usage-days',
      inline: true,
      fields: [
        { name: 'first_day', label: 'First day (UTC)', type: 'date', required: true },
        { name: 'last_day', label: 'Last day (UTC)', type: 'date', required: true },
      ],
      submit: 'Show',
      send: async ({ first_day, last_day }) => usage.show(await read({ firstDay: first_day, lastDay: last_day })),
    });
    const choose = h(
      'select',
      {
        id: 'usage-measure',
        change: () => {
          measure = MEASURES[choose.selectedIndex];
          if (answer) usage.show(shown(answer, measure));
        },
      },
      ...MEASURES.map(({ value, label }) => h('option', { value }, label)),
    );
    const field = h('div', { class: 'field' }, h('label', { for: choose.id }, 'Plot'), choose);
    const choices = h('div', { class: 'filters' }, field);
    if (isOwner(chosen()?.me)) {
      addMembers(choices, signal, (id) => {
        of = id;
        days.requestSubmit();
      });
    }
    section.append(
      h('p', { class: 'lead' }, 'Days are those of UTC, whatever your own time is.'),
      days,
      choices,
      usage.element,
    );
    usage.load();
  },
};

/**
 * Lets an owner look at what one member, or one service account, used.
 * @param {HTMLElement} place
 * @param {AbortSignal} signal
 * @param {(id: string) => void} changed
 */
async function addMembers(place, signal, changed) {
  const { names } = await namesIn(chosenAccount(), signal);
  const choose = h(
    'select',
    { id: 'usage-of', change: () => changed(choose.value) },
    h('option', { value: '' }, 'everybody'),
    ...Array.from(names, ([value, name]) => h('option', { value }, name)),
  );
  place.append(h('div', { class: 'field' }, h('label', { for: choose.id }, 'Of'), choose));
}

/**
 * @param {Answer} answer
 * @param {{value: Measure, label: string}} measure
 * @returns {Node[]}
 */
function shown({ firstDay, lastDay, completeFromDay, rows = [] }, measure) {
  const content = [];
  if (completeFromDay > firstDay) {
    const from = h('time', { datetime: completeFromDay }, `${dayInWords(completeFromDay)} (UTC)`);
    content.push(
      h(
        'p',
        { id: 'usage-complete-from', class: 'notice' },
        'The figures are whole from ',
        from,
        ' on. Of the days before it a part is missing.',
      ),
    );
  }
  if (rows.length === 0) return [...content, h('p', { class: 'hint' }, 'Nothing was used on these days.')];
  const models = byModel(rows);
  const colours = new Map(models.map(({ model }, index) => [model, Math.min(index, OWN_COLOURS) + 1]));
  return [...content, drawn(rows, models, daysBetween(firstDay, lastDay), measure), totals(models, colours), details(rows)];
}

/**
 * What each model used in all, the one that cost most first.
 * @param {Row[]} rows
 */
function byModel(rows) {
  /** @type {Map<string, {model: string} & Record<Measure, bigint>>} */
  const sums = new Map();
  for (const row of rows) {
    const model = row.model ?? '';
    const sum = sums.get(model) ?? { model, chargedCredits: 0n, calls: 0n, inputTokens: 0n, outputTokens: 0n };
    for (const { value } of MEASURES) sum[value] += whole(row[value]);
    sums.set(model, sum);
  }
  const compare = (/** @type {bigint} */ a, /** @type {bigint} */ b) => (a < b ? 1 : a > b ? -1 : 0);
  return [...sums.values()].sort((a, b) => compare(a.chargedCredits, b.chargedCredits) || compare(a.calls, b.calls));
}

/**
 * @param {Row[]} rows
 * @param {Array<{model: string}>} models
 * @param {string[]} days
 * @param {{value: Measure, label: string}} measure
 */
function drawn(rows, models, days, { value, label }) {
  const places = new Map(days.map((day, index) => [day, index]));
  const series = models.slice(0, OWN_COLOURS).map(({ model }) => ({ name: model, values: days.map(() => 0n) }));
  if (models.length > OWN_COLOURS) series.push({ name: OTHERS, values: days.map(() => 0n) });
  const own = new Map(series.slice(0, OWN_COLOURS).map((each) => [each.name, each]));
  for (const row of rows) {
    const its = own.get(row.model ?? '') ?? series[OWN_COLOURS];
    const place = places.get(row.day);
    if (its && place !== undefined) its.values[place] += whole(row[value]);
  }
  return plot({ id: 'usage-plot', what: label, days, series });
}

const FIGURES = MEASURES.map(({ label }) => ({ title: label, isNumber: true }));

/**
 * What each model used in all, with the colour that it has in the plot.
 * @param {Array<{model: string} & Record<Measure, bigint>>} models
 * @param {Map<string, number>} colours
 */
function totals(models, colours) {
  const { element, add } = table('By model, on all of these days', [{ title: 'Model', isHead: true }, ...FIGURES], {
    id: 'usage-by-model',
  });
  for (const sum of models) {
    const swatch = svg(
      'svg',
      { class: 'swatch', viewBox: '0 0 1 1', 'aria-hidden': 'true' },
      svg('rect', { width: 1, height: 1, class: `series-${colours.get(sum.model)}` }),
    );
    add([[swatch, theirs(sum.model)], ...MEASURES.map(({ value }) => grouped(sum[value]))]);
  }
  return element;
}

/** @param {Row[]} rows */
function details(rows) {
  const { element, add } = table('By day (UTC) and model', [{ title: 'Day', isHead: true }, { title: 'Model' }, ...FIGURES], {
    id: 'usage-by-day',
  });
  for (const row of rows.toSorted((a, b) => b.day.localeCompare(a.day))) {
    const day = h('time', { datetime: row.day, title: `${row.day} UTC` }, dayInWords(row.day));
    add([day, theirs(row.model), ...MEASURES.map(({ value }) => grouped(row[value]))]);
  }
  return element;
}
