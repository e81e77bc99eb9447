// The methods of the services, called as whoever is signed in.

import { newRequestId } from './exact.js';
import { Failure, SessionEnded } from './failure.js';
import { end, refresh, session } from './session.js';
import { send } from './transport.js';

/** How long to wait before a call whose answer was lost is repeated, in ms. */
const REPEAT_AFTER_MS = [500, 2000];

/**
 * Calls a method of auth-service.
 * @param {string} method For example `Accounts/GetBalance`.
 * @param {object} [message]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export function call(method, message = {}, signal) {
  return signedIn((token) => send(`/tollgate.auth.v1.${method}`, message, { token, signal }));
}

/**
 * Calls a method that has a `request_id`, for one form. The same message has the same id, so that nothing is done twice, whether it is
 * repeated here because its answer was lost, or by whoever sends the form again.
 * @param {string} method
 * @returns {(message: object) => Promise<any>}
 */
export function once(method) {
  let sent = '';
  let requestId = '';
  return (message) => {
    const text = JSON.stringify(message);
    if (text !== sent) [sent, requestId] = [text, newRequestId()];
    return repeated(method, { ...message, requestId });
  };
}

/**
 * @param {string} method
 * @param {object} message
 */
async function repeated(method, message) {
  for (const wait of REPEAT_AFTER_MS) {
    try {
      return await call(method, message);
    } catch (failure) {
      if (!(failure instanceof Failure && failure.isPassing)) throw failure;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
  return call(method, message);
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
