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
  ORGANIZATION_NOT_FOUND: 'There is no such organization, or you are no member of it.',
  ACCOUNT_NOT_ALLOWED: 'This account is not yours to use, or no longer.',
  OWNER_REQUIRED: 'An owner of the organization must do this.',
  LAST_OWNER: 'An organization keeps an owner who can act. Make another member one first.',
  MEMBER_NOT_FOUND: 'The organization has no such member or service account any more.',
  ALREADY_A_MEMBER: 'They are a member already.',
  NAME_TAKEN: 'Another one has this name.',
  MEMBER_CAP_REACHED: 'What an owner lets you spend this month (UTC) is spent. An owner can raise your cap.',
  INVITATION_INVALID: 'This invitation is not good, or no longer: it was used, withdrawn, or is past its time.',
  SECOND_FACTOR_REQUIRED: 'A code of your second factor is needed as well.',
  SECOND_FACTOR_INVALID: 'This code is wrong, or was used before.',
  STEP_UP_REQUIRED: 'This was not done: it needs your second factor.',
  SECOND_FACTOR_NOT_SET_UP: 'This needs a second factor, and you have none. Set one up under Security.',
  SECOND_FACTOR_SET_UP: 'You have a second factor already.',
  ISSUER_UNKNOWN: 'Nobody can sign in with this issuer here.',
  ISSUER_UNAVAILABLE: "The issuer can't be reached, or can't be understood. Signing in with a password works as ever.",
  ID_TOKEN_INVALID: 'What the issuer answered proves nothing here. Nobody was signed in.',
  SIGN_IN_EXPIRED: 'This sign-in took too long, or was used already. Begin again.',
  IDENTITY_LINKED: 'This identity signs another user in, or you have one of this issuer already.',
  IDENTITY_NOT_FOUND: 'This identity signs you in no longer.',
  LAST_SIGN_IN_METHOD: 'You would have no way left to sign in. An operator can give you a password first.',
  USER_CODE_UNKNOWN: 'No device waits under this code. It may have been answered, or be past its time.',
  NO_PASSWORD: 'You have no password: you sign in with an issuer.',
  RECENT_SIGN_IN_REQUIRED: 'This needs a session that began within the last 15 minutes. Sign out, sign in again, and come back.',
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
 * What to say of a reason that came by an address, which anybody can write.
 * @param {string} reason
 */
export function wordsOf(reason) {
  return Object.hasOwn(WORDS, reason) ? WORDS[reason] : 'The issuer did not sign you in.';
}

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
