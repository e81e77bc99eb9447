// Tables that become a list of cards on a narrow screen, and stay tables for screen readers.

import { append, h } from './dom.js';

/** @typedef {{title: string, isNumber?: boolean, isHead?: boolean}} Column `isHead`: names the row. */
/** @typedef {import('./dom.js').Child | import('./dom.js').Child[]} Cell */

/**
 * @param {string} caption
 * @param {Column[]} columns
 * @param {import('./dom.js').Attributes} [attributes]
 * @returns {{element: HTMLTableElement, add: (cells: Cell[]) => HTMLTableRowElement}}
 */
export function table(caption, columns, attributes = {}) {
  // Roles are said once more, because what is shown as a card is no table to browsers.
  const heads = columns.map(({ title, isNumber }) => h('th', { role: 'columnheader', scope: 'col', class: isNumber && 'number' }, title));
  const body = h('tbody', { role: 'rowgroup' });
  const element = h(
    'table',
    { role: 'table', ...attributes },
    h('caption', {}, caption),
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, ...heads)),
    body,
  );

  /** @param {Cell[]} cells */
  function add(cells) {
    const row = h('tr', { role: 'row' });
    columns.forEach(({ title, isNumber, isHead }, index) => {
      const common = { 'data-column': title, class: isNumber && 'number' };
      const cell = isHead ? h('th', { role: 'rowheader', scope: 'row', ...common }) : h('td', { role: 'cell', ...common });
      const content = cells[index];
      append(cell, Array.isArray(content) ? [h('span', {}, ...content)] : [content]);
      row.append(cell);
    });
    body.append(row);
    return row;
  }

  return { element, add };
}

/**
 * Names and what they stand for.
 * @param {Array<[string, Cell]>} entries
 */
export function facts(entries) {
  const list = h('dl', { class: 'facts' });
  for (const [name, value] of entries) {
    const shown = h('dd');
    append(shown, Array.isArray(value) ? value : [value]);
    list.append(h('div', {}, h('dt', {}, name), shown));
  }
  return list;
}
