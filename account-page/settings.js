// What the page knows before anybody signs in.

import { get } from './transport.js';

/**
 * @typedef {object} Settings
 * @property {'open' | 'closed'} sign_up Whether whoever asks may sign up.
 * @property {string | null} inference_url Where inference-service is, without a slash at the end; null: a page can't call it there.
 * @property {Array<{name: string, issuer?: string}>} [issuers] With whom one can sign in: the name here, and the identifier.
 * @property {string} version
 */

/** @type {Settings | undefined} */
let read;

export async function readSettings() {
  read ??= await get('/account-page/settings');
}

/** @returns {Settings} */
export function settings() {
  if (!read) throw new Error('the settings are not read yet');
  return read;
}
