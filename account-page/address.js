// The part of the address behind `#/`: a view's path, and what it is about. No server sees it.

import { say } from './announce.js';

/** The views that somebody can come to from elsewhere, and still wants after they have signed in. */
const KEPT = ['device', 'invitation'];
/** Where it waits while the browser is at an issuer. It is there for this tab alone, and until somebody has signed in. */
const PLACE = 'tollgate-go-on';

/** Where whoever signs in wanted to go. */
let wanted = '';

/** The path of the view. */
export function path() {
  return location.hash.startsWith('#/') ? location.hash.slice(2).split('?')[0] : '';
}

/**
 * What the address says of this name; empty: nothing.
 * @param {string} name
 */
export function parameter(name) {
  return new URLSearchParams(location.hash.split('?')[1] ?? '').get(name) ?? '';
}

/**
 * Changes the address, and shows nothing anew.
 * @param {string} hash
 */
export function replaceAddress(hash) {
  history.replaceState(null, '', `/${hash}`);
}

/**
 * Goes to a view.
 * @param {string} hash
 * @param {string} [said] What is said there.
 */
export function goTo(hash, said) {
  // Whoever shows the view hears of it first, and takes away what was said before.
  if (said) addEventListener('hashchange', () => say(said), { once: true });
  location.hash = hash;
}

/** Keeps where somebody wants to go while they sign in. */
export function keepWanted() {
  if (KEPT.includes(path())) wanted = location.hash;
}

/** Keeps it while the browser is elsewhere. */
export function keepWantedElsewhere() {
  if (wanted) sessionStorage.setItem(PLACE, wanted);
}

/** Where they wanted to go; empty: nowhere. It is kept no longer. */
export function takeWanted() {
  const kept = wanted || sessionStorage.getItem(PLACE) || '';
  wanted = '';
  sessionStorage.removeItem(PLACE);
  return KEPT.some((path) => kept === `#/${path}` || kept.startsWith(`#/${path}?`)) ? kept : '';
}

/** Whoever opens the address that a device shows is shown the view that approves it. */
export function fromDevice() {
  if (location.pathname !== '/device') return;
  const code = new URLSearchParams(location.search).get('user_code');
  replaceAddress(code ? `#/device?user_code=${encodeURIComponent(code)}` : '#/device');
}
