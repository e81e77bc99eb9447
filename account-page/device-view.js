// Approving the sign-in of a device without a browser: what asks, and what it would get, in words.

import { parameter } from './address.js';
import { button, focusOn, h, theirs } from './dom.js';
import { words } from './failure.js';
import { form } from './form.js';
import { call } from './rpc.js';
import { facts } from './table.js';
import { time } from './times.js';
import { loaded, me } from './view.js';

/**
 * @typedef {object} DeviceSignIn
 * @property {string} userCode
 * @property {string} [client] What the device calls itself.
 * @property {string} [address]
 * @property {string[]} [scopes]
 * @property {string} [requestedAt]
 * @property {string} [expiresAt]
 * @property {string} [description]
 */

/** @type {import('./view.js').View} */
export const deviceView = {
  path: 'device',
  title: 'Approve a device',
  show(section, signal) {
    const place = h('div', {});
    section.append(
      h('p', { class: 'lead' }, 'A notebook, or a shell on a server, that asks to be signed in as you shows a code of eight letters.'),
      place,
    );
    const code = parameter('user_code');
    if (!code) return askForCode(place);
    const read = loaded('device', async () => [shown(await find(code, signal), place)]);
    const other = h('p', { class: 'more' }, h('a', { href: '#/device' }, 'Type another code'));
    place.replaceChildren(read.element, other);
    read.load();
  },
};

/**
 * @param {string} userCode
 * @param {AbortSignal} [signal]
 * @returns {Promise<DeviceSignIn>}
 */
function find(userCode, signal) {
  return call('Accounts/GetDeviceSignIn', { userCode }, signal);
}

/** @param {HTMLElement} place */
function askForCode(place) {
  const ask = form({
    id: 'device-code',
    fields: [{ name: 'user_code', label: 'Code', required: true, hint: 'As the device shows it, such as BCDF-GHJK.' }],
    submit: 'Look at it',
    send: async ({ user_code }) => {
      place.replaceChildren(shown(await find(user_code), place));
      focusOn(place.querySelector('h2'));
    },
  });
  place.replaceChildren(ask);
  focusOn(ask.querySelector('input'));
}

/**
 * @param {DeviceSignIn} asked
 * @param {HTMLElement} place
 */
function shown({ userCode, client, address, scopes, requestedAt, expiresAt, description }, place) {
  const failed = h('p', { id: 'device-failure', class: 'failure', role: 'alert', tabindex: '-1' });
  const answer = async (/** @type {boolean} */ deny) => {
    if (approve.ariaDisabled === 'true') return;
    for (const each of [approve, refuse]) each.ariaDisabled = 'true';
    failed.textContent = '';
    try {
      await call('Accounts/ApproveDevice', { userCode, deny });
      place.replaceChildren(answered(deny));
      focusOn(place.querySelector('h2'));
    } catch (failure) {
      for (const each of [approve, refuse]) each.ariaDisabled = 'false';
      failed.textContent = words(failure);
    }
  };
  const approve = button('Approve', () => answer(false), { id: 'approve-device', class: 'main' });
  const refuse = button('Deny', () => answer(true), { id: 'deny-device', class: 'danger' });
  return h(
    'div',
    { class: 'sheet' },
    h('h2', { tabindex: '-1' }, 'Does your device show this code?'),
    h('p', { id: 'user-code', class: 'user-code' }, userCode),
    h('p', { id: 'device-description' }, theirs(description || `It would be signed in as ${me().userName}.`)),
    facts([
      ['It calls itself', client ? theirs(client) : '–'],
      ['It asked from', address ? h('code', {}, address) : 'not known'],
      ['Limited to', scopes?.length ? scopes.join(', ') : 'nothing: it may do all that you may'],
      ['Asked', time(requestedAt)],
      ['Until', time(expiresAt)],
    ]),
    h(
      'p',
      { class: 'notice' },
      'If somebody sent you this code, or a link, they would be signed in as you: deny it.',
    ),
    failed,
    h('div', { class: 'buttons' }, approve, refuse),
  );
}

/** @param {boolean} denied */
function answered(denied) {
  return h(
    'div',
    { class: 'sheet' },
    h('h2', { id: 'device-answered', tabindex: '-1' }, denied ? 'Denied' : 'Approved'),
    denied
      ? h('p', {}, 'The device is not signed in.')
      : h('p', {}, 'The device goes on by itself. It is among your sessions, under ', h('a', { href: '#/security' }, 'Security'), '.'),
  );
}
