// Calls by Connect's protocol, in JSON, and what their errors say.

import { Failure } from './failure.js';

/** How long an answer may take, in ms. */
const ANSWER_MS = 30_000;

/** @typedef {{type?: string, debug?: any}} Detail */
/** @typedef {{code?: string, message?: string, details?: Detail[]}} ConnectError */

/**
 * Sends JSON, and gives the JSON that comes back.
 * @param {string} url
 * @param {unknown} body Undefined: none.
 * @param {object} [options]
 * @param {string} [options.method]
 * @param {string} [options.token] An access token.
 * @param {string} [options.account] The account that it is about; empty: the user's own.
 * @param {AbortSignal} [options.signal] Gives it up.
 * @param {boolean} [options.keepalive] Let it end also when the page goes away.
 * @returns {Promise<any>}
 */
export async function send(url, body, { method = 'POST', token, account, signal, keepalive } = {}) {
  const headers = new Headers({ 'content-type': 'application/json', 'connect-protocol-version': '1' });
  if (token) headers.set('authorization', `Bearer ${token}`);
  if (account) headers.set('x-tollgate-account', account);
  return read(url, { method, headers, body: JSON.stringify(body), keepalive }, signal);
}

/**
 * Reads JSON that is there for everybody.
 * @param {string} url
 * @returns {Promise<any>}
 */
export async function get(url) {
  return read(url, {});
}

/**
 * @param {string} url
 * @param {RequestInit} init
 * @param {AbortSignal} [signal]
 */
async function read(url, init, signal) {
  const time = AbortSignal.timeout(ANSWER_MS);
  const either = signal ? AbortSignal.any([signal, time]) : time;
  let response;
  let text;
  try {
    response = await fetch(url, { ...init, cache: 'no-store', redirect: 'error', signal: either });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Failure(time.aborted ? 'NO_ANSWER' : 'UNREACHABLE', String(error));
  }
  const answer = text === '' ? {} : parsed(text);
  if (response.ok && answer !== undefined) return answer;
  throw failureOf(answer, response);
}

/**
 * What an error of Connect says.
 * @param {ConnectError | undefined} error
 * @param {Response} [response]
 * @returns {Failure}
 */
export function failureOf(error, response) {
  const requestId = response?.headers.get('x-request-id') ?? '';
  if (!error || typeof error.message !== 'string') {
    const passing = response && response.status >= 502 && response.status <= 504;
    return new Failure(passing ? 'UNREACHABLE' : 'NOT_UNDERSTOOD', 'no answer of this server', { requestId });
  }
  const detail = (/** @type {string} */ type) => error.details?.find((each) => each.type === type)?.debug;
  const violations = new Map();
  for (const { field, description } of detail('google.rpc.BadRequest')?.fieldViolations ?? []) {
    const name = String(field).split(/[.[]/)[0];
    if (!violations.has(name)) violations.set(name, String(description));
  }
  return new Failure(detail('google.rpc.ErrorInfo')?.reason ?? '', error.message, {
    code: error.code,
    violations,
    retrySeconds: parseFloat(detail('google.rpc.RetryInfo')?.retryDelay ?? '') || undefined,
    requestId,
    receipt: detail('tollgate.inference.v1.Receipt'),
  });
}

/**
 * @param {string} text
 * @returns {any} Undefined when it is no JSON object.
 */
function parsed(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
