// Dialogs: to confirm, to fill in a form, to show what is shown once.

import { button, focusOn, h, part } from './dom.js';
import { form } from './form.js';

/** @typedef {import('./form.js').FormOptions} FormOptions */

/**
 * Opens a dialog in the view that is there. When it closes, the focus goes back to where it was.
 * @param {object} options
 * @param {string} options.id
 * @param {string} options.title
 * @param {Array<Node | string>} options.content
 * @param {boolean} [options.keep] Whether Escape leaves it open, because what it shows is shown once.
 * @param {() => unknown} [options.closed] What comes when it has closed, however that was.
 * @returns {HTMLDialogElement}
 */
export function openDialog({ id, title, content, keep = false, closed }) {
  const view = document.querySelector('#stage > section') ?? part('stage');
  const before = document.activeElement;
  const heading = h('h2', { id: `${id}-title`, tabindex: '-1' }, title);
  const keepOpen = (/** @type {Event} */ event) => {
    if (keep) event.preventDefault();
  };
  const dialog = h(
    'dialog',
    {
      id,
      class: keep && 'keep',
      'aria-labelledby': heading.id,
      cancel: keepOpen,
      // A browser lets a second Escape through, whatever becomes of `cancel`.
      keydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key === 'Escape') keepOpen(event);
      },
      close: () => {
        if (dialog.classList.contains('paused')) return;
        dialog.remove();
        closed?.();
        if (document.activeElement !== document.body) return;
        const again = before?.isConnected ? before : before?.id ? document.getElementById(before.id) : undefined;
        focusOn(again ?? view.querySelector('h1'));
      },
    },
    heading,
    ...content,
    h('div', { class: 'said', role: 'status' }),
  );
  view.append(dialog);
  dialog.showModal();
  focusOn(dialog.querySelector('input, textarea, select') ?? heading);
  return dialog;
}

/**
 * Asks for what an action needs, does it, and closes.
 * @template T
 * @param {object} options
 * @param {string} options.id
 * @param {string} options.title
 * @param {Array<Node | string>} [options.intro]
 * @param {FormOptions['fields']} [options.fields]
 * @param {string} options.submit
 * @param {boolean} [options.danger]
 * @param {(values: import('./form.js').Values) => Promise<T>} options.send Fails with what the form shows; else the dialog closes.
 * @param {(answer: T) => unknown} [options.done] What comes after that.
 * @param {() => unknown} [options.closed] As of `openDialog`.
 */
export function formDialog({ id, title, intro = [], fields = [], submit, danger, send, done, closed }) {
  const cancel = button('Cancel', () => dialog.close(), { id: `${id}-cancel` });
  const body = form({
    id: `${id}-form`,
    fields,
    submit,
    danger,
    beside: [cancel],
    send: async (values) => {
      const answer = await send(values);
      dialog.close();
      done?.(answer);
    },
  });
  const paragraphs = intro.length ? [h('p', {}, ...intro)] : [];
  const dialog = openDialog({ id, title, content: [...paragraphs, body], closed });
}

/** Whether something is shown that is shown once. */
export function isSecretShown() {
  return document.querySelector('dialog.keep[open]') !== null;
}

/** Takes open dialogs from the screen, with all that was typed into them. */
export function pauseDialogs() {
  for (const dialog of document.querySelectorAll('dialog')) {
    if (!dialog.open) continue;
    dialog.classList.add('paused');
    dialog.close();
  }
}

/** Brings them back. */
export function resumeDialogs() {
  for (const dialog of document.querySelectorAll('dialog')) {
    if (!dialog.classList.contains('paused')) continue;
    dialog.classList.remove('paused');
    dialog.showModal();
  }
}
