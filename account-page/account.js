// Which account views are about: the user's own, or that of an organization.

/**
 * @typedef {object} Place Somebody's place in an organization.
 * @property {string} [userId]
 * @property {string} [userName]
 * @property {string} [role]
 * @property {string} [addedAt]
 * @property {string} [monthlyCapCredits] Absent: no cap.
 * @property {string} [spentThisMonthCredits]
 * @property {boolean} [disabled]
 */

/** @typedef {{accountId: string, name: string, createdAt?: string, me?: Place}} Organization */

/** The choice, for this tab, so that it lasts over a reload. */
const PLACE = 'tollgate-account';

/** Of whom this is known. */
let userId = '';
/** @type {Organization[]} */
let known = [];
let chosenId = '';

/** The organizations of whoever is signed in, as far as that was read. */
export function organizations() {
  return known;
}

/** The organization whose account is looked at; undefined: it is the user's own. */
export function chosen() {
  return known.find(({ accountId }) => accountId === chosenId);
}

/** The id of its account; empty: the user's own. */
export function chosenAccount() {
  return chosenId;
}

/**
 * Whoever signs in begins with their own account, or goes on with what they chose in this tab.
 * @param {string} id The user's.
 */
export function beginAccounts(id) {
  if (id === userId) return;
  const [of, account] = (sessionStorage.getItem(PLACE) ?? '').split(' ');
  userId = id;
  known = [];
  chosenId = of === id ? (account ?? '') : '';
}

/** @param {string} accountId Empty: the user's own. */
export function choose(accountId) {
  chosenId = accountId;
  if (accountId) sessionStorage.setItem(PLACE, `${userId} ${accountId}`);
  else sessionStorage.removeItem(PLACE);
}

/**
 * What was read.
 * @param {Organization[]} organizations
 * @returns {'same' | 'changed' | 'lost'} What is new: `lost`: the one that was chosen is no longer there, and it is the user's own account.
 */
export function know(organizations) {
  const names = (/** @type {Organization[]} */ all) => JSON.stringify(all.map(({ accountId, name }) => [accountId, name]));
  const isSame = names(known) === names(organizations);
  known = organizations;
  if (!chosenId || chosen()) return isSame ? 'same' : 'changed';
  choose('');
  return 'lost';
}

/** @param {Place | undefined} place */
export function isOwner(place) {
  return place?.role === 'MEMBER_ROLE_OWNER';
}
