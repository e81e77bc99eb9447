// What a client called itself, for people: browsers say far more than anybody wants to read.

import { h, theirs } from './dom.js';

/** Looked for in this order, since most browsers name others as well. @type {Array<[RegExp, string]>} */
const BROWSERS = [
  [/\bEdg(?:e|A|iOS)?\//, 'Edge'],
  [/\bOPR\//, 'Opera'],
  [/\b(?:Firefox|FxiOS)\//, 'Firefox'],
  [/(?:\b|Headless)(?:Chrome|CriOS|Chromium)\//, 'Chrome'],
  [/\bSafari\//, 'Safari'],
];

/** @type {Array<[RegExp, string]>} */
const SYSTEMS = [
  [/\b(?:iPhone|iPad)\b/, 'iOS'],
  [/\bAndroid\b/, 'Android'],
  [/\bWindows\b/, 'Windows'],
  [/\bMac OS X\b/, 'macOS'],
  [/\bCrOS\b/, 'ChromeOS'],
  [/\bLinux\b/, 'Linux'],
];

/**
 * `Firefox on Linux`, with all that it said in the title; what is no browser is shown as it called itself.
 * @param {string} client
 * @returns {HTMLElement}
 */
export function clientName(client) {
  return h('span', { title: client }, theirs(inWords(client)));
}

/** @param {string} client */
export function inWords(client) {
  const find = (/** @type {Array<[RegExp, string]>} */ names) => names.find(([pattern]) => pattern.test(client))?.[1];
  const browser = client.startsWith('Mozilla/') ? find(BROWSERS) : undefined;
  const system = find(SYSTEMS);
  if (!browser) return client;
  return system ? `${browser} on ${system}` : browser;
}
