// Forms: what is wrong stands beside its field, and nothing is sent twice.

import { append, button, focusOn, h } from './dom.js';
import { Failure, SessionEnded, sentence, words } from './failure.js';

/**
 * @typedef {object} Field
 * @property {string} name The field's name in the contract, by which the server calls it when it is wrong.
 * @property {string} label
 * @property {'text' | 'password' | 'email' | 'date' | 'textarea' | 'select' | 'checkboxes'} [type]
 * @property {string} [hint]
 * @property {string} [value] What it begins with; of checkboxes the values of those that are on, with spaces between them.
 * @property {boolean} [required]
 * @property {boolean} [optional] Whether its label says that it is.
 * @property {boolean} [readonly] Whether it only says something, to password managers too.
 * @property {string} [autocomplete] For password managers.
 * @property {Array<{value: string, label: string, hint?: string}>} [options] Of a select or of checkboxes.
 * @property {string[]} [suggestions] Of a text.
 */

/** @typedef {Record<string, string>} Values By the fields' names; of checkboxes with spaces between them. */

/**
 * @typedef {object} FormOptions
 * @property {string} id Stands before the ids of its parts.
 * @property {Field[]} fields
 * @property {string} submit The button's label.
 * @property {boolean} [danger] Whether it takes something away.
 * @property {boolean} [inline] Whether it is one line, where there is room: it says what is to be shown.
 * @property {(values: Values) => Promise<unknown>} send Fails with what the form shows.
 * @property {HTMLElement[]} [beside] Goes beside the button.
 */

/**
 * @param {FormOptions} options
 * @returns {HTMLFormElement}
 */
export function form({ id, fields, submit, danger, inline, send, beside = [] }) {
  const parts = new Map(fields.map((field) => [field.name, fieldOf(id, field)]));
  const failed = h('p', { id: `${id}-failure`, class: 'failure', role: 'alert', tabindex: '-1' });
  const go = h('button', { id: `${id}-submit`, type: 'submit', class: danger ? 'danger' : 'main' }, submit);
  let isBusy = false;

  /** @param {boolean} busy */
  function show(busy) {
    isBusy = busy;
    element.ariaBusy = String(busy);
    // Not `disabled`: that would take the focus away.
    go.ariaDisabled = String(busy);
    go.classList.toggle('busy', busy);
  }

  /** @param {unknown} failure */
  function explain(failure) {
    if (failure instanceof SessionEnded) {
      failed.textContent = 'This was not sent, because your session had ended. Send it again.';
      return;
    }
    const violations = failure instanceof Failure ? failure.violations : new Map();
    const unplaced = [];
    for (const [name, description] of violations) {
      const part = parts.get(name);
      if (part) part.refuse(description);
      else unplaced.push(`${name} ${description}`);
    }
    const placed = violations.size > unplaced.length;
    failed.textContent = unplaced.length ? sentence(unplaced.join('; ')) : placed ? '' : words(failure);
    focusOn(placed ? element.querySelector('[aria-invalid=true]') : failed);
  }

  async function submitted() {
    if (isBusy) return;
    failed.textContent = '';
    const missing = new Map();
    for (const [name, part] of parts) {
      part.refuse('');
      if (part.field.required && !part.value()) missing.set(name, 'is required');
    }
    if (missing.size) return explain(new Failure('INVALID_ARGUMENT', '', { violations: missing }));
    show(true);
    try {
      await send(Object.fromEntries(Array.from(parts, ([name, part]) => [name, part.value()])));
    } catch (failure) {
      if (element.isConnected) explain(failure);
    } finally {
      show(false);
    }
  }

  const element = h(
    'form',
    {
      id,
      class: inline ? 'filters' : 'form',
      novalidate: true,
      submit: (/** @type {Event} */ event) => {
        event.preventDefault();
        submitted();
      },
    },
    ...Array.from(parts.values(), (part) => part.element),
    failed,
    h('div', { class: 'buttons' }, go, ...beside),
  );
  return element;
}

/**
 * @param {string} formId
 * @param {Field} field
 */
function fieldOf(formId, field) {
  const id = `${formId}-${field.name.replaceAll('_', '-')}`;
  const hint = field.hint ? h('p', { id: `${id}-hint`, class: 'hint' }, field.hint) : undefined;
  const wrong = h('p', { id: `${id}-error`, class: 'error' });
  const described = [hint && hint.id, wrong.id].filter(Boolean).join(' ');
  const group = field.type === 'checkboxes';
  const control = group ? checkboxes(id, field) : controlOf(id, field);
  control.setAttribute('aria-describedby', described);
  const label = h(group ? 'legend' : 'label', group ? {} : { for: id }, field.label, field.optional ? ' (optional)' : '');
  if (field.required) control.setAttribute('aria-required', 'true');
  const first = group ? control.querySelector('input') : control;

  /** What is wrong with it, going on from its name; nothing: it is good. */
  function refuse(/** @type {string} */ description) {
    wrong.textContent = description ? sentence(`${field.label} ${description}`) : '';
    if (description) first?.setAttribute('aria-invalid', 'true');
    else first?.removeAttribute('aria-invalid');
  }

  if (group) {
    control.prepend(label);
    append(control, [hint, wrong]);
    return { field, element: control, value: () => checked(control), refuse };
  }
  const input = /** @type {HTMLInputElement} */ (control);
  const shown = field.type === 'password' ? h('div', { class: 'joined' }, control, eye(input, field)) : control;
  const list = field.suggestions && h('datalist', { id: `${id}-list` }, ...field.suggestions.map((value) => h('option', { value })));
  const element = h('div', { class: 'field' }, label, hint, shown, list, wrong);
  // Whatever stands around a word is a slip, but in a password.
  const value = () => (field.type === 'password' ? input.value : input.value.trim());
  return { field, element, value, refuse };
}

/**
 * @param {string} id
 * @param {Field} field
 * @returns {HTMLElement}
 */
function controlOf(id, { name, type = 'text', value = '', autocomplete = 'off', readonly, options = [], suggestions }) {
  if (type === 'select') {
    const choices = options.map((option) => h('option', { value: option.value, selected: option.value === value }, option.label));
    return h('select', { id, name }, ...choices);
  }
  const plain = { id, name, autocomplete, readonly, spellcheck: 'false', autocapitalize: 'none' };
  if (type === 'textarea') return h('textarea', { ...plain, rows: 3 }, value);
  return h('input', { ...plain, type, value, list: suggestions && `${id}-list` });
}

/**
 * @param {string} id
 * @param {Field} field
 * @returns {HTMLElement}
 */
function checkboxes(id, { name, value = '', options = [] }) {
  const on = new Set(value.split(' '));
  const boxes = options.map((option) =>
    h(
      'label',
      { class: 'check' },
      h('input', { type: 'checkbox', id: `${id}-${option.value}`, name, value: option.value, checked: on.has(option.value) }),
      h('span', {}, option.label, option.hint ? h('small', {}, ` ${option.hint}`) : ''),
    ),
  );
  return h('fieldset', { id, class: 'field' }, ...boxes);
}

/** @param {HTMLElement} group */
function checked(group) {
  const boxes = /** @type {NodeListOf<HTMLInputElement>} */ (group.querySelectorAll('input:checked'));
  return Array.from(boxes, (box) => box.value).join(' ');
}

/**
 * Shows what was typed into a password's field, for as long as it is pressed in.
 * @param {HTMLInputElement} input
 * @param {Field} field
 */
function eye(input, field) {
  const label = `Show ${field.label.toLowerCase()}`;
  const toggle = button(
    'Show',
    () => {
      const isShown = input.type === 'text';
      input.type = isShown ? 'password' : 'text';
      toggle.ariaPressed = String(!isShown);
    },
    { class: 'quiet', 'aria-pressed': 'false', 'aria-label': label, 'aria-controls': input.id },
  );
  return toggle;
}
