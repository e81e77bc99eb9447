// The forms by which operators change users.

import { say } from './announce.js';
import { formDialog, openDialog } from './dialog.js';
import { button, h, theirs } from './dom.js';
import { copyable } from './copy.js';
import { credits } from './exact.js';
import { call, once } from './rpc.js';
import { time } from './times.js';

/** @typedef {import('./users-view.js').User} User */
/** @typedef {(now: User) => void} Changed */

/** @type {Record<string, {title: string, submit: string, said: string, effect: string, hasReason?: boolean}>} */
const STATES = {
  DisableUser: {
    title: 'Disable the user?',
    submit: 'Disable',
    said: 'disabled',
    effect: ' can no longer sign in, their API keys are refused, and answers that run are cut off.',
    hasReason: true,
  },
  EnableUser: {
    title: 'Enable the user?',
    submit: 'Enable',
    said: 'enabled',
    effect: ' may sign in again, and their API keys work again.',
  },
  LockUser: {
    title: 'Lock the user?',
    submit: 'Lock',
    said: 'locked',
    effect: ' can no longer sign in, and their sessions end. API keys stay in force.',
    hasReason: true,
  },
  UnlockUser: { title: 'Unlock the user?', submit: 'Unlock', said: 'unlocked', effect: ' may sign in again.' },
};

/**
 * @param {string} method Of `STATES`.
 * @param {User} user
 * @param {Changed} changed
 */
export function askForState(method, user, changed) {
  const { title, submit, said, effect, hasReason } = STATES[method];
  formDialog({
    id: 'change-state',
    title,
    intro: [theirs(user.userName), effect],
    fields: hasReason ? [{ name: 'reason', label: 'Reason', hint: 'For other operators. It is in the audit log.', optional: true }] : [],
    submit,
    danger: hasReason,
    send: ({ reason }) => call(`Admin/${method}`, { userName: user.userName, reason }),
    done: (answer) => {
      changed(answer.user);
      say(`${user.userName} is ${said}.`);
    },
  });
}

/**
 * @param {User} user
 * @param {Changed} changed
 */
export function askForReset(user, changed) {
  formDialog({
    id: 'reset-password',
    title: 'Reset the password?',
    intro: [theirs(user.userName), ' gets a one-time password, and their sessions end. API keys stay in force.'],
    submit: 'Reset the password',
    danger: true,
    send: () => call('Admin/ResetPassword', { userName: user.userName }),
    done: (answer) => {
      changed(answer.user);
      showOneTimePassword(answer, user);
    },
  });
}

/**
 * @param {{oneTimePassword: string, expiresAt: string}} answer
 * @param {User} user
 */
function showOneTimePassword({ oneTimePassword, expiresAt }, user) {
  const done = button('I have kept it', () => dialog.close(), { id: 'one-time-password-done', class: 'main' });
  const dialog = openDialog({
    id: 'one-time-password',
    title: 'One-time password',
    keep: true,
    content: [
      h('p', {}, 'Give this to ', theirs(user.userName), '. It is shown this once, and good once, until ', time(expiresAt), '.'),
      copyable({ id: 'one-time-password-secret', text: oneTimePassword, what: 'the one-time password' }),
      h('p', { class: 'hint' }, 'They choose a password on this page, under “I have a one-time password”.'),
      h('div', { class: 'buttons' }, done),
    ],
  });
}

/**
 * @param {User} user
 * @param {Changed} changed
 */
export function askForFactorReset(user, changed) {
  formDialog({
    id: 'reset-second-factor',
    title: 'Reset the second factor?',
    intro: [
      theirs(user.userName),
      ' signs in without one from then on, and their sessions end. Do it for whoever has lost it, once you know who asks.',
    ],
    submit: 'Reset the second factor',
    danger: true,
    send: () => call('Admin/ResetSecondFactor', { userName: user.userName }),
    done: (answer) => {
      changed(answer.user);
      say(`${user.userName} has no second factor now.`);
    },
  });
}

/** @param {User} user */
export function askForGrant({ userName }) {
  grantTo({ userName }, userName);
}

/**
 * The same for an organization.
 * @param {string} accountId
 * @param {string} name May be empty.
 */
export function askForGrantTo(accountId, name) {
  grantTo({ accountId }, name || accountId);
}

/**
 * @param {{userName: string} | {accountId: string}} to
 * @param {string} name
 */
function grantTo(to, name) {
  const grant = once('Admin/GrantCredits');
  formDialog({
    id: 'grant',
    title: 'Grant credits',
    intro: ['They go to the account of ', theirs(name), '.'],
    fields: [
      { name: 'credits', label: 'Credits', required: true },
      { name: 'note', label: 'Note', hint: 'Why. It is read in the ledger.', optional: true },
    ],
    submit: 'Grant',
    send: ({ credits: amount, note }) => grant({ ...to, credits: amount, note }),
    done: (answer) => say(`Granted: ${name} has ${credits(answer.balance?.availableCredits)} now.`),
  });
}

/** @param {() => Promise<void>} reload */
export function askForUser(reload) {
  formDialog({
    id: 'make-user',
    title: 'Make a user',
    fields: [
      { name: 'user_name', label: 'User name', required: true, hint: '3 to 64 letters, digits, dots, underscores or hyphens.' },
      {
        name: 'password',
        label: 'Password',
        type: 'password',
        autocomplete: 'new-password',
        required: true,
        hint: 'At least 15 characters.',
      },
      { name: 'full_name', label: 'Full name', optional: true },
      { name: 'email', label: 'E-mail address', type: 'email', optional: true },
      {
        name: 'role',
        label: 'Role',
        type: 'select',
        options: [
          { value: 'ROLE_USER', label: 'user' },
          { value: 'ROLE_ADMIN', label: 'operator' },
        ],
      },
      { name: 'starting_credits', label: 'Credits to start with', hint: 'None: as many as the server is set to give.', optional: true },
    ],
    submit: 'Make the user',
    send: (values) => {
      const start = values.starting_credits ? { startingCredits: values.starting_credits } : {};
      const { user_name: userName, password, full_name: fullName, email, role } = values;
      return call('Admin/CreateUser', { userName, password, fullName, email, role, ...start });
    },
    done: async (answer) => {
      await reload();
      say(`${answer.user.userName} is there, with ${credits(answer.availableCredits)}.`);
    },
  });
}
