// What screen readers are told of what happens, and a short notice for everybody.

import { part } from './dom.js';

/** How long a notice is seen, in ms. */
const SEEN_MS = 6000;

/** @type {ReturnType<typeof setTimeout> | undefined} */
let fading;

/**
 * Says something that needs no answer.
 * @param {string} text
 */
export function say(text) {
  // Behind a dialog nothing is read out.
  const said = document.querySelector('dialog[open] > .said') ?? part('said');
  clearTimeout(fading);
  // The same words once more are said once more only when they were gone.
  said.textContent = '';
  requestAnimationFrame(() => {
    said.textContent = text;
  });
  fading = setTimeout(() => {
    said.textContent = '';
  }, SEEN_MS);
}
