// Times: shown in the reader's own, with UTC beside them for whoever compares with a log.

import { h } from './dom.js';

const LOCAL = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeZone: 'UTC' });
const SHORT_DAY = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', timeZone: 'UTC' });

const DAY_MS = 86_400_000;

/** @typedef {string | undefined} Timestamp RFC 3339 in UTC, as the JSON of protobuf has it. */

/**
 * A time in the reader's zone. UTC is in its title.
 * @param {Timestamp} timestamp
 * @param {string} [absent] What to say when there is none.
 * @returns {HTMLElement}
 */
export function time(timestamp, absent = '–') {
  if (!timestamp) return h('span', {}, absent);
  const at = new Date(timestamp);
  const utc = at.toISOString();
  return h('time', { datetime: utc, title: `${utc.slice(0, 10)} ${utc.slice(11, 19)} UTC` }, LOCAL.format(at));
}

/**
 * Whether it is over, by the clock of this machine.
 * @param {Timestamp} timestamp
 */
export function isOver(timestamp) {
  return timestamp !== undefined && Date.parse(timestamp) <= Date.now();
}

/**
 * Every day from the first to the last, both included. None when they are in the wrong order, or aren't days.
 * @param {string} first `YYYY-MM-DD`
 * @param {string} last
 * @returns {string[]}
 */
export function daysBetween(first, last) {
  const days = [];
  for (let at = Date.parse(first); at <= Date.parse(last); at += DAY_MS) days.push(new Date(at).toISOString().slice(0, 10));
  return days;
}

/**
 * A day of UTC, for people.
 * @param {string} day `YYYY-MM-DD`
 */
export function dayInWords(day) {
  return DAY.format(new Date(day));
}

/**
 * The same without its year.
 * @param {string} day `YYYY-MM-DD`
 */
export function shortDay(day) {
  return SHORT_DAY.format(new Date(day));
}

/**
 * A protobuf duration of whole seconds.
 * @param {number} seconds
 */
export function duration(seconds) {
  return `${seconds}s`;
}
