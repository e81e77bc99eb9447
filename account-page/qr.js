// QR codes (ISO/IEC 18004), drawn here so that a secret goes to nobody who draws them: bytes, correction level L, versions 1 to 13.

import { svg } from './dom.js';

/** By version: bytes of correction of each block, and how many blocks there are. */
const CORRECTION = [7, 10, 15, 20, 26, 18, 20, 24, 30, 18, 20, 24, 26];
const BLOCKS = [1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4];

/** The light margin that readers need, in modules. */
const MARGIN = 4;

/** @typedef {boolean[][]} Modules Rows of dark and light ones. */

/**
 * The code as a picture; undefined: the text is too long for one.
 * @param {string} text
 * @param {string} label What screen readers say of it.
 */
export function qrCode(text, label) {
  const modules = modulesOf(new TextEncoder().encode(text));
  if (!modules) return undefined;
  const path = modules.flatMap((row, y) => row.map((isDark, x) => (isDark ? `M${x} ${y}h1v1h-1z` : ''))).join('');
  const side = modules.length + 2 * MARGIN;
  return svg(
    'svg',
    { class: 'qr', viewBox: `${-MARGIN} ${-MARGIN} ${side} ${side}`, role: 'img', 'aria-label': label },
    svg('rect', { x: -MARGIN, y: -MARGIN, width: side, height: side, class: 'light' }),
    svg('path', { d: path, class: 'dark' }),
  );
}

/**
 * @param {Uint8Array} bytes
 * @returns {Modules | undefined}
 */
function modulesOf(bytes) {
  const version = CORRECTION.findIndex((_, index) => bytes.length + headBytes(index + 1) <= dataBytes(index + 1)) + 1;
  if (version === 0) return undefined;
  const words = withCorrection(framed(bytes, version), version);
  const candidates = MASKS.map((_, mask) => drawn(words, version, mask));
  return candidates.reduce((best, next) => (penalty(next) < penalty(best) ? next : best));
}

/** What stands before the bytes, rounded up: the mode and their count. @param {number} version */
function headBytes(version) {
  return version < 10 ? 2 : 3;
}

/** Bytes that a version has room for, correction included. @param {number} version */
function allBytes(version) {
  const aligned = alignments(version).length;
  const patterns = aligned ? (25 * aligned - 10) * aligned - 55 : 0;
  return ((16 * version + 128) * version + 64 - patterns - (version >= 7 ? 36 : 0)) >> 3;
}

/** @param {number} version */
function dataBytes(version) {
  return allBytes(version) - CORRECTION[version - 1] * BLOCKS[version - 1];
}

/**
 * The mode, the count, the bytes, and what fills the rest.
 * @param {Uint8Array} bytes
 * @param {number} version
 */
function framed(bytes, version) {
  const bits = [0, 1, 0, 0];
  const put = (/** @type {number} */ value, /** @type {number} */ width) => {
    for (let bit = width - 1; bit >= 0; bit--) bits.push((value >> bit) & 1);
  };
  put(bytes.length, version < 10 ? 8 : 16);
  for (const byte of bytes) put(byte, 8);
  const room = dataBytes(version) * 8;
  put(0, Math.min(4, room - bits.length));
  while (bits.length % 8) bits.push(0);
  for (let fill = 0xec; bits.length < room; fill ^= 0xec ^ 0x11) put(fill, 8);
  return Array.from({ length: room / 8 }, (_, at) => parseInt(bits.slice(at * 8, at * 8 + 8).join(''), 2));
}

/**
 * Multiplies in the field of 256 elements.
 * @param {number} a
 * @param {number} b
 */
function times(a, b) {
  let product = 0;
  for (let bit = 7; bit >= 0; bit--) product = (product << 1) ^ ((product >> 7) * 0x11d) ^ (((b >> bit) & 1) * a);
  return product;
}

/** The polynomial whose zeros are the first powers of 2, without its first coefficient. @param {number} degree */
function generator(degree) {
  const result = [...new Array(degree - 1).fill(0), 1];
  for (let power = 0, root = 1; power < degree; power++, root = times(root, 2)) {
    for (let at = 0; at < degree; at++) result[at] = times(result[at], root) ^ (result[at + 1] ?? 0);
  }
  return result;
}

/**
 * In blocks, each with its Reed-Solomon correction, one byte of each after the other.
 * @param {number[]} data
 * @param {number} version
 */
function withCorrection(data, version) {
  const [count, length] = [BLOCKS[version - 1], CORRECTION[version - 1]];
  const divisor = generator(length);
  const short = Math.floor(data.length / count);
  const shortOnes = count - (data.length % count);
  const blocks = [];
  for (let block = 0, at = 0; block < count; block++) {
    const part = data.slice(at, (at += short + (block < shortOnes ? 0 : 1)));
    const rest = new Array(length).fill(0);
    for (const byte of part) {
      const factor = byte ^ /** @type {number} */ (rest.shift());
      rest.push(0);
      divisor.forEach((coefficient, index) => {
        rest[index] ^= times(coefficient, factor);
      });
    }
    blocks.push({ part, rest });
  }
  const woven = (/** @type {number[][]} */ rows) =>
    Array.from({ length: Math.max(...rows.map((row) => row.length)) }, (_, at) => rows.flatMap((row) => row.slice(at, at + 1))).flat();
  return [...woven(blocks.map(({ part }) => part)), ...woven(blocks.map(({ rest }) => rest))];
}

/** Where the middles of alignment patterns are, on both axes. @param {number} version */
function alignments(version) {
  if (version === 1) return [];
  const count = Math.floor(version / 7) + 2;
  const last = version * 4 + 10;
  const step = Math.ceil((last - 6) / (count - 1) / 2) * 2;
  return [6, ...Array.from({ length: count - 1 }, (_, index) => last - step * (count - 2 - index))];
}

/** Which modules a mask turns over. @type {Array<(x: number, y: number) => boolean>} */
const MASKS = [
  (x, y) => (x + y) % 2 === 0,
  (_, y) => y % 2 === 0,
  (x) => x % 3 === 0,
  (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2 === 0,
  (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

/**
 * A number with the remainder of its division behind it (BCH).
 * @param {number} value
 * @param {number} divisor
 * @param {number} width Bits of the remainder.
 */
function checked(value, divisor, width) {
  let rest = value;
  for (let bit = 0; bit < width; bit++) rest = (rest << 1) ^ ((rest >> (width - 1)) * divisor);
  return (value << width) | rest;
}

/**
 * @param {number[]} words
 * @param {number} version
 * @param {number} mask
 * @returns {Modules}
 */
function drawn(words, version, mask) {
  const size = version * 4 + 17;
  /** @type {Modules} */
  const dark = Array.from({ length: size }, () => new Array(size).fill(false));
  const isFixed = dark.map((row) => [...row]);
  const fix = (/** @type {number} */ x, /** @type {number} */ y, /** @type {boolean} */ isDark) => {
    if (x < 0 || y < 0 || x >= size || y >= size) return;
    dark[y][x] = isDark;
    isFixed[y][x] = true;
  };
  for (let at = 0; at < size; at++) {
    fix(6, at, at % 2 === 0);
    fix(at, 6, at % 2 === 0);
  }
  const rings = (/** @type {number} */ left, /** @type {number} */ top, /** @type {number} */ reach, /** @type {number} */ light) => {
    for (let dy = -reach; dy <= reach; dy++) {
      for (let dx = -reach; dx <= reach; dx++) {
        const ring = Math.max(Math.abs(dx), Math.abs(dy));
        fix(left + dx, top + dy, ring !== light && ring !== 4);
      }
    }
  };
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) rings(x, y, 4, 2);
  const middles = alignments(version);
  const end = size - 7;
  for (const x of middles) {
    for (const y of middles) {
      const isFinder = (x === 6 && y === 6) || (x === 6 && y === end) || (x === end && y === 6);
      if (!isFinder) rings(x, y, 2, 1);
    }
  }
  formats(fix, size, checked((1 << 3) | mask, 0x537, 10) ^ 0x5412);
  if (version >= 7) {
    const bits = checked(version, 0x1f25, 12);
    for (let bit = 0; bit < 18; bit++) {
      const [long, short] = [size - 11 + (bit % 3), Math.floor(bit / 3)];
      fix(long, short, ((bits >> bit) & 1) === 1);
      fix(short, long, ((bits >> bit) & 1) === 1);
    }
  }
  let bit = 0;
  for (let right = size - 1; right > 0; right -= right === 8 ? 3 : 2) {
    for (let step = 0; step < size; step++) {
      const isUp = ((right + 1) & 2) === 0;
      for (const x of [right, right - 1]) {
        const y = isUp ? size - 1 - step : step;
        if (isFixed[y][x]) continue;
        const isOn = ((words[bit >> 3] >> (7 - (bit & 7))) & 1) === 1;
        dark[y][x] = isOn !== MASKS[mask](x, y);
        bit++;
      }
    }
  }
  return dark;
}

/**
 * The level and the mask, twice, and the module that is always dark.
 * @param {(x: number, y: number, isDark: boolean) => void} fix
 * @param {number} size
 * @param {number} bits
 */
function formats(fix, size, bits) {
  for (let bit = 0; bit < 15; bit++) {
    const isDark = ((bits >> bit) & 1) === 1;
    // Past the lines of timing.
    const near = bit < 6 ? bit : bit < 8 ? bit + 1 : bit === 8 ? 7 : 14 - bit;
    if (bit < 8) {
      fix(8, near, isDark);
      fix(size - 1 - bit, 8, isDark);
    } else {
      fix(near, 8, isDark);
      fix(8, size - 15 + bit, isDark);
    }
  }
  fix(8, size - 8, true);
}

/** How hard it is to read: runs, squares, what looks like a corner, and too much of one shade. @param {Modules} dark */
function penalty(dark) {
  const size = dark.length;
  let sum = 0;
  const lines = [...dark, ...dark.map((_, x) => dark.map((row) => row[x]))].map((line) => line.map(Number).join(''));
  for (const line of lines) {
    for (const [run] of line.matchAll(/0{5,}|1{5,}/g)) sum += run.length - 2;
    sum += 40 * [...line.matchAll(/(?=00001011101|10111010000)/g)].length;
  }
  let count = 0;
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      count += Number(dark[y][x]);
      const around = y > 0 && x > 0 ? [dark[y - 1][x - 1], dark[y - 1][x], dark[y][x - 1]] : [];
      if (around.length && around.every((each) => each === dark[y][x])) sum += 3;
    }
  }
  return sum + 10 * Math.floor(Math.abs((count * 20) / (size * size) - 10));
}
