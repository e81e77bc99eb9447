// Streams by Connect's protocol: each message stands behind a byte of flags and its length in four bytes.

import { Failure } from './failure.js';
import { failureOf } from './transport.js';

/** The flag of the last message, which says how the stream ended. */
const IS_END = 0x02;
const HEAD_BYTES = 5;

/**
 * Calls a method that streams, and gives its messages as they come.
 * @param {string} url
 * @param {object} message
 * @param {object} options
 * @param {string} options.token
 * @param {string} [options.account] The account that pays; empty: the user's own.
 * @param {AbortSignal} options.signal Ends it.
 * @returns {AsyncGenerator<any, void>}
 */
export async function* stream(url, message, { token, account, signal }) {
  const headers = new Headers({ 'content-type': 'application/connect+json', 'connect-protocol-version': '1' });
  headers.set('authorization', `Bearer ${token}`);
  if (account) headers.set('x-tollgate-account', account);
  let response;
  try {
    response = await fetch(url, { method: 'POST', headers, body: framed(message), cache: 'no-store', redirect: 'error', signal });
  } catch (error) {
    throw signal.aborted ? error : new Failure('UNREACHABLE', String(error));
  }
  if (!response.ok || !response.body) throw failureOf(await response.json().catch(() => undefined), response);
  for await (const { flags, text } of frames(response.body.getReader(), signal)) {
    const message = parsed(text);
    if (!(flags & IS_END)) {
      yield message;
    } else if (message.error) {
      throw failureOf(message.error, response);
    } else {
      return;
    }
  }
  throw new Failure('BROKEN_OFF', "The answer broke off. The server's receipt says what it cost");
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Failure('NOT_UNDERSTOOD', 'a message of the stream is no JSON');
  }
}

/**
 * @param {object} message
 * @returns {Uint8Array<ArrayBuffer>}
 */
function framed(message) {
  const text = new TextEncoder().encode(JSON.stringify(message));
  const bytes = new Uint8Array(HEAD_BYTES + text.length);
  new DataView(bytes.buffer).setUint32(1, text.length);
  bytes.set(text, HEAD_BYTES);
  return bytes;
}

/**
 * @param {ReadableStreamDefaultReader<Uint8Array>} reader
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<{flags: number, text: string}, void>}
 */
async function* frames(reader, signal) {
  const decoder = new TextDecoder();
  let rest = new Uint8Array(0);
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw signal.aborted ? error : new Failure('BROKEN_OFF', "The answer broke off. The server's receipt says what it cost");
    });
    if (done) return;
    rest = joined(rest, value);
    for (;;) {
      if (rest.length < HEAD_BYTES) break;
      const length = new DataView(rest.buffer, rest.byteOffset).getUint32(1);
      if (rest.length < HEAD_BYTES + length) break;
      yield { flags: rest[0], text: decoder.decode(rest.subarray(HEAD_BYTES, HEAD_BYTES + length)) };
      rest = rest.subarray(HEAD_BYTES + length);
    }
  }
}

/**
 * @param {Uint8Array} first
 * @param {Uint8Array} second
 */
function joined(first, second) {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
