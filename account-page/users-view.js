// Users, for operators: who there is, and what may be done to them.

import { button, h, theirs, unseen } from './dom.js';
import { form } from './form.js';
import { call } from './rpc.js';
import { table } from './table.js';
import { time } from './times.js';
import { askForFactorReset, askForGrant, askForReset, askForState, askForUser } from './user-forms.js';
import { paged } from './view.js';

/**
 * @typedef {object} User
 * @property {string} userId
 * @property {string} userName
 * @property {string} [fullName]
 * @property {string} [email]
 * @property {string} [role] `ROLE_ADMIN` for an operator.
 * @property {boolean} [disabled]
 * @property {boolean} [locked]
 * @property {boolean} [passwordChangeRequired] An operator reset the password.
 * @property {string} [stateReason] Why it is disabled or locked.
 * @property {string} [createdAt]
 */

const PAGE_SIZE = 50;

const STATES = [
  { value: 'USER_STATE_UNSPECIFIED', label: 'all' },
  { value: 'USER_STATE_ENABLED', label: 'enabled' },
  { value: 'USER_STATE_DISABLED', label: 'disabled' },
  { value: 'USER_STATE_LOCKED', label: 'locked' },
];

/** @type {import('./view.js').View} */
export const usersView = {
  path: 'users',
  title: 'Users',
  forOperators: true,
  show(section, signal) {
    let wanted = { namePrefix: '', state: STATES[0].value };
    const users = paged({
      id: 'users',
      read: async (pageToken) => {
        const answer = await call('Admin/ListUsers', { pageSize: PAGE_SIZE, pageToken, ...wanted }, signal);
        return { items: /** @type {User[]} */ (answer.users ?? []), next: answer.nextPageToken ?? '' };
      },
      list: () => {
        const { element, add } = table('By name', [
          { title: 'User', isHead: true },
          { title: 'State' },
          { title: 'Made' },
          { title: 'Actions' },
        ]);
        return { element, add: (user) => row(add, user) };
      },
      none: 'There is no such user.',
      more: 'Show more users',
    });
    const filters = form({
      id: 'user-filters',
      inline: true,
      fields: [
        { name: 'name_prefix', label: 'Name begins with' },
        { name: 'state', label: 'State', type: 'select', options: STATES },
      ],
      submit: 'Show',
      send: async ({ name_prefix, state }) => {
        wanted = { namePrefix: name_prefix, state };
        await users.load();
      },
    });
    const make = button('Make a user', () => askForUser(users.load), { id: 'ask-for-user', class: 'main' });
    section.append(h('div', { class: 'buttons' }, make), h('div', { class: 'loaded' }, filters), users.element);
    users.load();
  },
};

/**
 * @param {(cells: import('./table.js').Cell[]) => HTMLTableRowElement} add
 * @param {User} user
 */
function row(add, user) {
  const shown = add(cells(user, changed));
  shown.id = `user-${user.userId}`;

  /** @param {User} now */
  function changed(now) {
    const focus = document.activeElement?.id;
    const next = row(add, now);
    shown.replaceWith(next);
    if (focus) document.getElementById(focus)?.focus();
  }
  return shown;
}

/**
 * @param {User} user
 * @param {(now: User) => void} changed
 * @returns {import('./table.js').Cell[]}
 */
function cells(user, changed) {
  const contact = [user.fullName, user.email].filter((text) => text);
  /** @type {Array<HTMLElement | string>} */
  const who = [theirs(user.userName), ' '];
  if (user.role === 'ROLE_ADMIN') who.push(h('span', { class: 'badge' }, 'operator'));
  if (contact.length) who.push(h('div', { class: 'hint' }, ...contact.flatMap((text, index) => [index ? ', ' : '', theirs(text)])));
  return [who, state(user), time(user.createdAt), actions(user, changed)];
}

/** @param {User} user */
function state(user) {
  /** @type {Array<HTMLElement | string>} */
  const badges = [];
  if (user.disabled) badges.push(h('span', { class: 'badge bad' }, 'disabled'), ' ');
  if (user.locked) badges.push(h('span', { class: 'badge bad' }, 'locked'), ' ');
  if (user.passwordChangeRequired) badges.push(h('span', { class: 'badge' }, 'must choose a password'));
  if (badges.length === 0) badges.push(h('span', { class: 'badge good' }, 'enabled'));
  if (user.stateReason) badges.push(h('div', { class: 'hint' }, theirs(user.stateReason)));
  return badges;
}

/**
 * @param {User} user
 * @param {(now: User) => void} changed
 */
function actions(user, changed) {
  const action = (/** @type {string} */ label, /** @type {string} */ name, /** @type {() => unknown} */ click, isDanger = false) =>
    button(label, click, { id: `user-${user.userId}-${name}`, class: isDanger ? 'danger small' : 'small' }, unseen(` ${user.userName}`));
  return h(
    'div',
    { class: 'buttons' },
    action('Grant', 'grant', () => askForGrant(user)),
    user.disabled
      ? action('Enable', 'state', () => askForState('EnableUser', user, changed))
      : action('Disable', 'state', () => askForState('DisableUser', user, changed), true),
    user.locked
      ? action('Unlock', 'lock', () => askForState('UnlockUser', user, changed))
      : action('Lock', 'lock', () => askForState('LockUser', user, changed), true),
    action('Reset password', 'reset', () => askForReset(user, changed), true),
    action('Reset second factor', 'factor', () => askForFactorReset(user, changed), true),
  );
}
