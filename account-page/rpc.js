// The methods of the services, called as whoever is signed in.

import { chosenAccount } from './account.js';
import { newRequestId } from './exact.js';
import { Failure, SessionEnded } from './failure.js';
import { end, refresh, session } from './session.js';
import { send } from './transport.js';

/** How long to wait before a call whose answer was lost is repeated, in ms. */
const REPEAT_AFTER_MS = [500, 2000];

/** What is of one account: that of the organization that was chosen, or else the user's own. */
const OF_ACCOUNT = new Set(
  ['GetBalance', 'GetReceipt', 'GetUsage', 'ListLedgerEntries', 'ListApiKeys', 'CreateApiKey', 'RotateApiKey', 'RevokeApiKey'].map(
    (method) => `Accounts/${method}`,
  ),
);

/** An account that can't be used, or no longer. */
const NOT_MINE = new Set(['ORGANIZATION_NOT_FOUND', 'ACCOUNT_NOT_ALLOWED']);

/** Has the second factor proved; whether it was. @type {() => Promise<boolean>} */
let prove = async () => false;

/**
 * Says how the second factor is proved, for calls that ask for it.
 * @param {() => Promise<boolean>} ask
 */
export function onStepUp(ask) {
  prove = ask;
}

/** Says that the account that was chosen can't be used any more. */
let lost = () => {};

/**
 * Says who is told that.
 * @param {() => void} listener
 */
export function onLostAccount(listener) {
  lost = listener;
}

/**
 * Calls a method of auth-service.
 * @param {string} method For example `Accounts/GetBalance`.
 * @param {object} [message]
 * @param {AbortSignal} [signal]
 * @param {string} [account] Whose account it is about, where that isn't the one that was chosen.
 * @returns {Promise<any>}
 */
export async function call(method, message = {}, signal, account = OF_ACCOUNT.has(method) ? chosenAccount() : '') {
  const work = () => signedIn((token) => send(`/tollgate.auth.v1.${method}`, message, { token, signal, account }));
  try {
    return await work();
  } catch (failure) {
    if (chosenAccount() && failure instanceof Failure && NOT_MINE.has(failure.reason)) lost();
    const isAsked = failure instanceof Failure && failure.reason === 'STEP_UP_REQUIRED';
    if (!isAsked || !(await prove())) throw failure;
  }
  return work();
}

/**
 * Calls a method that has a `request_id`, for one form. The same message has the same id, so that nothing is done twice, whether it is
 * repeated here because its answer was lost, or by whoever sends the form again.
 * @param {string} method
 * @param {string} [account] As of `call`.
 * @returns {(message: object) => Promise<any>}
 */
export function once(method, account) {
  let sent = '';
  let requestId = '';
  return (message) => {
    const text = JSON.stringify(message);
    if (text !== sent) [sent, requestId] = [text, newRequestId()];
    return repeated(method, { ...message, requestId }, account);
  };
}

/**
 * @param {string} method
 * @param {object} message
 * @param {string} [account]
 */
async function repeated(method, message, account) {
  for (const wait of REPEAT_AFTER_MS) {
    try {
      return await call(method, message, undefined, account);
    } catch (failure) {
      if (!(failure instanceof Failure && failure.isPassing)) throw failure;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
  return call(method, message, undefined, account);
}

/**
 * Does something with an access token; when it is refused, gets another and does it once more.
 * @template T
 * @param {(token: string) => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function signedIn(work) {
  const before = session();
  if (!before) throw new SessionEnded();
  try {
    return forNobodyElse(before, await work(before.accessToken));
  } catch (failure) {
    if (!isOfTheToken(failure)) throw failure;
  }
  await refresh(before.accessToken);
  const token = forNobodyElse(before, session()?.accessToken ?? '');
  try {
    return forNobodyElse(before, await work(token));
  } catch (failure) {
    throw isOfTheToken(failure) ? end(/** @type {Failure} */ (failure)) : failure;
  }
}

/**
 * Another user may have signed in meanwhile, in another tab: nothing is done in their name, and they see nothing of this one.
 * @template T
 * @param {import('./session.js').Session} before
 * @param {T} answer
 * @returns {T}
 */
function forNobodyElse(before, answer) {
  if (session()?.userId !== before.userId) throw new SessionEnded();
  return answer;
}

/** @param {unknown} failure */
function isOfTheToken(failure) {
  if (!(failure instanceof Failure)) return false;
  return failure.isOfTheToken || failure.reason === 'USER_DISABLED' || failure.reason === 'USER_LOCKED';
}
