// Why a call came to nothing, and what to say of it.

import { counted } from './exact.js';

/**
 * A call that came to nothing. `reason` is a name of ErrorReason without its prefix, or one of the page's own:
 * `UNREACHABLE`, `NO_ANSWER`, `NOT_UNDERSTOOD`.
 */
export class Failure extends Error {
  /**
   * @param {string} reason
   * @param {string} message In the server's words.
   * @param {object} [more]
   * @param {string} [more.code] Connect's code.
   * @param {Map<string, string>} [more.violations] What is wrong with which field, by the field's name in the contract.
   * @param {number} [more.retrySeconds] After how long it may be tried again.
   * @param {string} [more.requestId] What the server's log has it under.
   * @param {Receipt} [more.receipt] What it cost nevertheless.
   */
  constructor(reason, message, more = {}) {
    super(message);
    this.reason = reason;
    this.code = more.code ?? '';
    this.violations = more.violations ?? new Map();
    this.retrySeconds = more.retrySeconds;
    this.requestId = more.requestId ?? '';
    this.receipt = more.receipt;
  }

  /** Whether another access token may help. */
  get isOfTheToken() {
    return this.code === 'unauthenticated' && OF_THE_TOKEN.has(this.reason);
  }

  /** Whether nobody knows if the server did what was asked. */
  get isUncertain() {
    return this.reason === 'UNREACHABLE' || this.reason === 'NO_ANSWER' || this.reason === 'NOT_UNDERSTOOD';
  }

  /** Whether the same may work later. */
  get isPassing() {
    return this.isUncertain || this.code === 'unavailable' || this.code === 'aborted' || this.code === 'deadline_exceeded';
  }
}

/** The session is over, and somebody must sign in. */
export class SessionEnded extends Failure {
  /** @param {string} [message] */
  constructor(message = 'Your session has ended. Sign in again.') {
    super('SESSION_ENDED', message);
  }
}

/** @typedef {{chargedCredits?: string, remainingCredits?: string, ledgerEntryId?: string}} Receipt Credits, in whole numbers. */

const OF_THE_TOKEN = new Set(['CREDENTIAL_MISSING', 'CREDENTIAL_INVALID', 'CREDENTIAL_EXPIRED', 'CREDENTIAL_REVOKED']);

/** @type {Record<string, string>} */
const WORDS = {
  UNREACHABLE: "The server can't be reached. It may be down, or the network is.",
  NO_ANSWER: 'The server has not answered in time.',
  NOT_UNDERSTOOD: "The server's answer can't be understood. Something between you and it may have answered in its place.",
  LOGIN_FAILED: "User name and password don't match. The same is said of users who are locked, disabled, or had their password reset.",
  ROLE_REQUIRED: 'Only operators may do this.',
  SIGN_UP_CLOSED: 'Sign-up is closed here. Ask an operator for an account.',
  USER_NAME_TAKEN: 'This user name is taken.',
  USER_NOT_FOUND: 'There is no such user.',
  USER_DISABLED: 'This user is disabled. An operator can say why.',
  USER_LOCKED: 'This user is locked. An operator must unlock it before it can sign in.',
  PASSWORD_CHANGE_REQUIRED: 'An operator reset the password. Choose a new one with the one-time password.',
  API_KEY_NOT_FOUND: 'There is no such key any more.',
  SESSION_NOT_FOUND: 'This session has ended already.',
  REQUEST_NOT_FOUND: 'This request is no longer remembered: receipts are kept for an hour or so. The ledger keeps the charge.',
  REQUEST_IN_PROGRESS: 'The same is being done already. Try again in a moment.',
  REFRESH_TOKEN_REUSED: 'Your session was ended, because its token was used twice: somebody else may have had it. Sign in again.',
  INSUFFICIENT_CREDITS: 'There are not enough credits for this call. An operator can grant more.',
  TOO_MANY_OPEN_HOLDS: 'Too many calls of this account are running. Wait for one to end.',
  RATE_LIMITED: 'Too many attempts.',
  MODEL_NOT_FOUND: 'There is no such model here.',
  MODEL_BROKEN: "This model is there and can't be used. An operator must look at it.",
  UPSTREAM_UNAVAILABLE: "The model server can't be reached, or broke.",
  UPSTREAM_BUSY: 'The model server is busy.',
  UPSTREAM_TIMEOUT: 'The model server has sent nothing for too long.',
  AUTH_UNAVAILABLE: "The models' server can't reach the accounts' server.",
  STORE_UNAVAILABLE: "The server can't reach its store. Nothing was changed.",
  STORE_FULL: "The server's store is full. Nothing was changed. An operator must look at it.",
  STORE_READ_ONLY: "The server's store takes no changes at the moment. Nothing was changed.",
  STORE_MISCONFIGURED: "The server's store can't be used. An operator must look at it.",
  DRAINING: 'The server is stopping or starting anew.',
  SERVER_BUSY: 'The server is busy.',
  SLOW_READER: 'The answer was read too slowly and was ended.',
  STREAM_TOO_LONG: 'The answer took longer than an answer may.',
  INTERNAL: 'Something went wrong in the server.',
};

/**
 * What to say to the user.
 * @param {unknown} failure
 * @returns {string}
 */
export function words(failure) {
  if (!(failure instanceof Failure)) return 'Something went wrong in this page. Reload it, and try again.';
  const said = WORDS[failure.reason] ?? sentence(failure.message);
  const wait = failure.retrySeconds ? ` Try again in ${counted(Math.ceil(failure.retrySeconds), 'second')}.` : '';
  const where = failure.reason === 'INTERNAL' && failure.requestId ? ` Its log has more under ${failure.requestId}.` : '';
  return said + wait + where;
}

/**
 * The server's words, as a sentence.
 * @param {string} message
 */
export function sentence(message) {
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
