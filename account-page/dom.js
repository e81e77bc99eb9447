// Elements, made by DOM calls alone: what users wrote becomes text, never markup.

const SVG = 'http://www.w3.org/2000/svg';

/** @typedef {Node | string | null | undefined | false} Child What is absent is left out. */
/** @typedef {Record<string, string | number | boolean | null | undefined | ((event: any) => void)>} Attributes A function is a listener. */

/**
 * @param {Element} element
 * @param {Attributes} attributes
 * @param {Child[]} children
 */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') {
      element.addEventListener(name, value);
    } else if (value === true) {
      element.setAttribute(name, '');
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, String(value));
    }
  }
  append(element, children);
}

/**
 * @param {Element} element
 * @param {Child[]} children
 */
export function append(element, children) {
  for (const child of children) {
    if (child) element.append(child);
  }
}

/**
 * An element of HTML. A listener goes by its event's name: `{ click: () => … }`.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  fill(element, attributes, children);
  return element;
}

/**
 * An element of SVG.
 * @param {string} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {SVGElement}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = /** @type {SVGElement} */ (document.createElementNS(SVG, tag));
  fill(element, attributes, children);
  return element;
}

/**
 * A button that does something here.
 * @param {string} label
 * @param {(event: MouseEvent) => void} click
 * @param {Attributes} [attributes]
 * @param {...Child} more Goes behind the label.
 */
export function button(label, click, attributes = {}, ...more) {
  return h('button', { type: 'button', click, ...attributes }, label, ...more);
}

/**
 * What somebody wrote. Its direction is its own and changes nothing around it.
 * @param {string | undefined} text
 */
export function theirs(text) {
  return h('bdi', {}, text ?? '');
}

/**
 * Text for screen readers alone.
 * @param {...Child} children
 */
export function unseen(...children) {
  return h('span', { class: 'unseen' }, ...children);
}

/**
 * The element of the page itself that has this id.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function part(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no #${id}`);
  return element;
}

/**
 * Changes what is in `root`, and leaves the focus on the element of the same id, or on the nearest heading when that is gone.
 * @param {HTMLElement} root
 * @param {() => void} change
 */
export function keepingFocus(root, change) {
  const before = document.activeElement;
  const id = before && root.contains(before) ? before.id : '';
  change();
  if (before && before !== document.body && before.isConnected) return;
  focusOn((id && document.getElementById(id)) || root.closest('section')?.querySelector('h1'));
}

/**
 * Puts the focus on an element, also on one that isn't reached by Tab.
 * @param {Element | null | undefined} element
 */
export function focusOn(element) {
  if (!(element instanceof HTMLElement)) return;
  if (element.tabIndex < 0) element.tabIndex = -1;
  element.focus();
}
