// What screen readers are told of what happens, and a short notice for everybody.

import { part } from './dom.js';

/** How long a notice is seen, in ms. */
const SEEN_MS = 6000;
/** For how long nothing is said before, so that the same words once more are a change. */
const PAUSE_MS = 50;

/** @type {ReturnType<typeof setTimeout> | undefined} */
let fading;

/** Takes the notice away, as when somebody else signs in. */
export function hush() {
  clearTimeout(fading);
  part('said').textContent = '';
}

/**
 * Says something that needs no answer.
 * @param {string} text
 */
export function say(text) {
  hush();
  fading = setTimeout(() => {
    // Behind a dialog nothing is read out. The one whose action it is of has closed meanwhile.
    const said = document.querySelector('dialog[open] > .said') ?? part('said');
    said.textContent = text;
    fading = setTimeout(() => {
      said.textContent = '';
    }, SEEN_MS);
  }, PAUSE_MS);
}
