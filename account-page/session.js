// Who is signed in. The access token is in a variable of this module alone; the refresh token is in a cookie that no script can read.

import { Failure, SessionEnded, words } from './failure.js';
import { send } from './transport.js';

/**
 * @typedef {object} Session
 * @property {string} accessToken
 * @property {string} userId
 * @property {string} userName
 * @property {string} fullName May be empty.
 * @property {string} email May be empty.
 * @property {boolean} isOperator
 * @property {string} accountId The user's own.
 */

/**
 * @typedef {{kind: 'started', session: Session}
 *   | {kind: 'ended', words: string, userId: string}
 *   | {kind: 'signed-out', words: string}} Change `ended`: what was typed is to be kept for this user. `signed-out`: nothing is.
 */

/** @typedef {{kind: 'signed-in', userId: string} | {kind: 'signed-out'}} News What tabs tell each other. */

/** One at a time among all tabs: whatever changes the cookie. */
const LOCK = 'tollgate-session';

/** @type {Session | undefined} */
let current;
/** @type {Promise<void> | undefined} */
let refreshing;
/** What changes the cookie and was begun last. @type {Promise<unknown>} */
let last = Promise.resolve();
/** @type {(change: Change) => void} */
let changed = () => {};

const tabs = 'BroadcastChannel' in globalThis ? new BroadcastChannel('tollgate-session') : undefined;

/**
 * Says who is told of each change.
 * @param {(change: Change) => void} listener
 */
export function onChange(listener) {
  changed = listener;
}

/** Who is signed in; undefined: nobody. */
export function session() {
  return current;
}

/**
 * Goes on with the session of the cookie, if there is one.
 * @returns {Promise<boolean>} Whether there is. Fails when that can't be known.
 */
export async function resume() {
  try {
    await refresh(undefined);
    return true;
  } catch (failure) {
    if (failure instanceof SessionEnded) return false;
    throw failure;
  }
}

/**
 * Begins a session.
 * @param {string} userName
 * @param {string} password
 * @param {string} [code] Of the second factor.
 */
export function signIn(userName, password, code) {
  return begin('/account/session', { user_name: userName, password, second_factor_code: code });
}

/**
 * Chooses a password in place of a one-time password, and begins a session.
 * @param {string} userName
 * @param {string} oneTimePassword
 * @param {string} newPassword
 * @param {string} [code] Of the second factor.
 */
export function completeReset(userName, oneTimePassword, newPassword, code) {
  const body = { user_name: userName, one_time_password: oneTimePassword, new_password: newPassword, second_factor_code: code };
  return begin('/account/session/reset', body);
}

/**
 * @param {string} path
 * @param {object} body
 */
async function begin(path, body) {
  await alone(async () => start(await send(path, body)));
  if (current) tell({ kind: 'signed-in', userId: current.userId });
}

/**
 * Ends the session, here and in all tabs. Fails when the server can't be reached: then it goes on.
 * @param {string} [said] What the sign-in form says then.
 */
export async function signOut(said = 'You are signed out.') {
  await alone(async () => {
    // By the access token too: the cookie may have gone, or be another session's, while this page was open.
    if (current) await endedBefore(send('/tollgate.auth.v1.Accounts/Logout', {}, { token: current.accessToken }));
    await send('/account/session', undefined, { method: 'DELETE' });
  });
  current = undefined;
  tell({ kind: 'signed-out' });
  changed({ kind: 'signed-out', words: said });
}

/**
 * A log-out that is refused because its token is no longer good: then there is nothing to end by it.
 * @param {Promise<unknown>} loggedOut
 */
async function endedBefore(loggedOut) {
  try {
    await loggedOut;
  } catch (failure) {
    if (!isRefusal(failure)) throw failure;
  }
}

/**
 * Whether the server said no to a credential.
 * @param {unknown} failure
 * @returns {failure is Failure}
 */
function isRefusal(failure) {
  return failure instanceof Failure && (failure.code === 'unauthenticated' || failure.code === 'permission_denied');
}

/**
 * Gets another access token. Several who ask at once get the same one.
 * @param {string | undefined} used The token that was refused.
 * @returns {Promise<void>} Fails with `SessionEnded` when there is no session, and otherwise when that can't be known.
 */
export function refresh(used) {
  if (current && current.accessToken !== used) return Promise.resolve();
  refreshing ??= alone(renew).finally(() => {
    refreshing = undefined;
  });
  return refreshing;
}

async function renew() {
  try {
    // It ends also when the page goes away, so that the cookie that comes with it is kept.
    start(await send('/account/session/refresh', undefined, { keepalive: true }));
  } catch (failure) {
    throw isRefusal(failure) ? end(failure) : failure;
  }
}

/**
 * The session is over: whoever was signed in must sign in again.
 * @param {Failure} failure Why.
 * @returns {SessionEnded}
 */
export function end(failure) {
  const ended = failure.isOfTheToken ? new SessionEnded() : new SessionEnded(words(failure));
  const before = current;
  current = undefined;
  if (before) changed({ kind: 'ended', words: ended.message, userId: before.userId });
  return ended;
}

/** @param {any} answer As the server's SessionBody. */
function start({ access_token, account_id, user }) {
  const before = current;
  current = {
    accessToken: access_token,
    userId: user.user_id,
    userName: user.user_name,
    fullName: user.full_name,
    email: user.email,
    isOperator: user.role === 'admin',
    accountId: account_id,
  };
  const isSame = before?.userId === current.userId && before.isOperator === current.isOperator;
  if (!isSame) changed({ kind: 'started', session: current });
}

/**
 * Runs what changes the cookie, while no other tab does.
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
async function alone(work) {
  if (navigator.locks) return await navigator.locks.request(LOCK, work);
  // Without TLS a browser has no locks but for this machine's own pages. Then each tab keeps its own order, and when two refresh at once
  // the server's 30 s for lost answers let both go on.
  const mine = last.then(work, work);
  last = mine.catch(() => {});
  return mine;
}

/** @param {News} news */
function tell(news) {
  tabs?.postMessage(news);
}

tabs?.addEventListener('message', ({ data }) => {
  const news = /** @type {News} */ (data);
  if (news.kind === 'signed-out' && current) {
    current = undefined;
    changed({ kind: 'signed-out', words: 'You signed out in another tab.' });
  } else if (news.kind === 'signed-in' && current?.userId !== news.userId) {
    // The cookie is that of the one who signed in last, so that is who this tab is for as well. What fails here shows at the next call.
    refresh(current?.accessToken).catch(() => {});
  }
});
