// The organizations of whoever is signed in, read from the server, and the names of who is in one.

import { know } from './account.js';
import { call } from './rpc.js';

/** @typedef {import('./account.js').Organization} Organization */

/** @type {(news: 'changed' | 'lost') => void} */
let changed = () => {};

/**
 * Says who is told when others were read than before.
 * @param {(news: 'changed' | 'lost') => void} listener
 */
export function onOrganizations(listener) {
  changed = listener;
}

/**
 * @param {AbortSignal} [signal]
 * @returns {Promise<Organization[]>}
 */
export async function readOrganizations(signal) {
  const { organizations = [] } = await call('Accounts/ListOrganizations', {}, signal);
  const news = know(organizations);
  if (news !== 'same') changed(news);
  return organizations;
}

/**
 * The names of members and service accounts, by their ids.
 * @param {string} accountId
 * @param {AbortSignal} signal
 * @returns {Promise<{names: Map<string, string>, services: Set<string>}>} `services`: the ids of those that are service accounts.
 */
export async function namesIn(accountId, signal) {
  const [{ members = [] }, { serviceAccounts = [] }] = await Promise.all([
    call('Accounts/ListMembers', { accountId }, signal),
    call('Accounts/ListServiceAccounts', { accountId }, signal),
  ]);
  /** @type {Map<string, string>} */
  const names = new Map();
  for (const { userId, userName } of members) names.set(userId, userName);
  for (const { serviceAccountId, name } of serviceAccounts) names.set(serviceAccountId, name);
  return { names, services: new Set(serviceAccounts.map((/** @type {{serviceAccountId: string}} */ each) => each.serviceAccountId)) };
}
