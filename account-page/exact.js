// Whole numbers of 64 bits. JSON has them as text, because a JavaScript number would lose digits.

/** @typedef {string | number | undefined} Int64 As the JSON of protobuf has it; absent is 0. */

const GROUPED = new Intl.NumberFormat();

/**
 * @param {Int64} value
 * @returns {bigint}
 */
export function whole(value) {
  return value === undefined ? 0n : BigInt(value);
}

/**
 * For people, in groups of digits.
 * @param {Int64 | bigint} value
 */
export function grouped(value) {
  return GROUPED.format(typeof value === 'bigint' ? value : whole(value));
}

/**
 * `1 credit`, `12 credits`.
 * @param {Int64 | bigint} value
 */
export function credits(value) {
  return counted(value, 'credit');
}

/**
 * `1 key`, `12 keys`.
 * @param {Int64 | bigint} value
 * @param {string} one
 * @param {string} [many]
 */
export function counted(value, one, many = `${one}s`) {
  const number = typeof value === 'bigint' ? value : whole(value);
  return `${grouped(number)} ${number === 1n ? one : many}`;
}

/**
 * With its sign: `+10`, `−1`.
 * @param {Int64} value
 */
export function signed(value) {
  const number = whole(value);
  return number < 0n ? `−${grouped(-number)}` : number > 0n ? `+${grouped(number)}` : '0';
}

/**
 * A part of a whole, from 0 to 1, to a ten-thousandth.
 * @param {bigint} part
 * @param {bigint} of Greater than 0.
 */
export function share(part, of) {
  return Number((part * 10000n) / of) / 10000;
}

/**
 * A new id for a request that may be repeated: 128 random bits in hexadecimal.
 */
export function newRequestId() {
  // randomUUID is not there on a page that came without TLS.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
