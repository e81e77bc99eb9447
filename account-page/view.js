// What all views have in common: a heading, parts that load, and what is said when they can't.

import { button, focusOn, h, keepingFocus } from './dom.js';
import { SessionEnded, words } from './failure.js';
import { session } from './session.js';

/**
 * @typedef {object} View
 * @property {string} path Behind `#/`.
 * @property {string} title Its heading.
 * @property {boolean} [forOperators]
 * @property {boolean} [ofAccount] Whether it is about the account that was chosen.
 * @property {string} [within] The path of the view that leads to it: it has no link of its own.
 * @property {(section: HTMLElement, signal: AbortSignal) => void} show Fills a section that has its heading; `signal` says that it was
 *   left.
 */

/** Who is signed in, where a view is shown. */
export function me() {
  const current = session();
  if (!current) throw new SessionEnded();
  return current;
}

/**
 * @typedef {object} Loaded
 * @property {HTMLElement} element
 * @property {() => Promise<void>} load Reads it, from its beginning.
 * @property {(content: Node[]) => void} show What was read otherwise.
 */

/**
 * A part that is loaded, now and whenever its `load` is called, and says so when it can't be.
 * @param {string} id
 * @param {() => Promise<Node[]>} read
 * @returns {Loaded}
 */
export function loaded(id, read) {
  const element = h('div', { id, class: 'loaded', 'aria-busy': 'true' }, h('p', { class: 'hint' }, 'Loading …'));
  let latest = 0;

  async function load() {
    const mine = ++latest;
    element.ariaBusy = 'true';
    let content;
    try {
      content = await read();
    } catch (failure) {
      if (isGivenUp(failure)) return;
      content = [trouble(failure, load)];
    }
    // An answer that was overtaken by another is none.
    if (mine === latest) show(content);
  }

  /** @param {Node[]} content */
  function show(content) {
    latest++;
    keepingFocusIn(element, () => element.replaceChildren(...content));
    element.ariaBusy = 'false';
  }

  return { element, load, show };
}

/**
 * @param {HTMLElement} element
 * @param {() => void} change
 */
function keepingFocusIn(element, change) {
  if (element.contains(document.activeElement)) keepingFocus(element, change);
  else change();
}

/**
 * What went wrong, and a way to try again.
 * @param {unknown} failure
 * @param {() => unknown} again
 * @returns {HTMLElement}
 */
export function trouble(failure, again) {
  const retry = button('Try again', () => {
    if (retry.ariaDisabled === 'true') return;
    retry.ariaDisabled = 'true';
    retry.classList.add('busy');
    again();
  });
  // It loads again by itself when the session goes on.
  const ended = failure instanceof SessionEnded;
  return h('div', { class: ended ? 'trouble of-session' : 'trouble', role: 'alert' }, h('p', {}, words(failure)), retry);
}

/**
 * Whether it failed because its view was left.
 * @param {unknown} failure
 */
export function isGivenUp(failure) {
  return failure instanceof DOMException && failure.name === 'AbortError';
}

/**
 * A list that is read page by page.
 * @template T
 * @param {object} options
 * @param {string} options.id
 * @param {(pageToken: string) => Promise<{items: T[], next: string}>} options.read
 * @param {() => {element: HTMLElement, add: (item: T) => HTMLElement}} options.list An empty list, and how it grows by an item.
 * @param {string} options.none What is said when there is nothing.
 * @param {string} options.more The label of the button for the next page.
 * @returns {Loaded}
 */
export function paged({ id, read, list, none, more }) {
  return loaded(id, async () => {
    const { element, add } = list();
    const rest = h('div', { class: 'more' });
    let count = 0;

    /** @param {string} token */
    async function page(token) {
      const { items, next } = await readSome(read, token);
      const added = items.map(add);
      count += items.length;
      rest.replaceChildren(...(next ? [moreButton(next)] : []));
      return added[0];
    }

    /** @param {string} token */
    function moreButton(token) {
      const show = button(
        more,
        async () => {
          if (show.ariaDisabled === 'true') return;
          show.ariaDisabled = 'true';
          show.classList.add('busy');
          try {
            focusOn(await page(token));
          } catch (failure) {
            if (!isGivenUp(failure)) rest.replaceChildren(trouble(failure, () => rest.replaceChildren(moreButton(token))));
          }
        },
        { id: `${id}-more` },
      );
      return show;
    }

    await page('');
    return count || rest.hasChildNodes() ? [element, rest] : [h('p', { class: 'hint' }, none)];
  });
}

/** How many pages are read to find one that has something. */
const EMPTY_PAGES = 20;

/**
 * A page that isn't empty, where there is one soon: what is filtered may leave pages without anything.
 * @template T
 * @param {(pageToken: string) => Promise<{items: T[], next: string}>} read
 * @param {string} token
 */
async function readSome(read, token) {
  let page = await read(token);
  for (let pages = 1; page.items.length === 0 && page.next && pages < EMPTY_PAGES; pages++) page = await read(page.next);
  return page;
}
