// Signing in, and the ways to get there: signing up, and choosing a password after an operator reset it.

import { parameter, path, replaceAddress } from './address.js';
import { button, focusOn, h, part } from './dom.js';
import { Failure, wordsOf } from './failure.js';
import { form } from './form.js';
import { issuerButtons } from './issuers.js';
import { completeReset, signIn } from './session.js';
import { settings } from './settings.js';
import { codeField } from './step-up.js';
import { send } from './transport.js';

/** @typedef {{said: string, userName: string}} Told Why the form is there, and whose name it begins with. */
/** @typedef {{title: string, content: (told: Told) => Node[], links: () => Array<Node | undefined>}} Guest */

const NEW_PASSWORD_HINT = 'At least 15 characters: a few words are easier to remember than signs.';

/** @returns {import('./form.js').Field} */
function userName(value = '') {
  return { name: 'user_name', label: 'User name', autocomplete: 'username', required: true, value };
}

/** @type {Guest} */
const SIGN_IN = {
  title: 'Sign in',
  content: ({ userName: name }) => [
    form({
      id: 'sign-in',
      fields: [
        userName(name),
        { name: 'password', label: 'Password', type: 'password', autocomplete: 'current-password', required: true },
      ],
      submit: 'Sign in',
      send: ({ user_name, password }) => withCode((code) => signIn(user_name, password, code)),
    }),
    ...issuerButtons(),
  ],
  // Each other way to sign in has its place among these.
  links: () => [signUpLink(), h('a', { id: 'to-complete-reset', href: '#/complete-reset' }, 'I have a one-time password')],
};

/** @type {Guest} */
const SIGN_UP = {
  title: 'Sign up',
  content: () => [
    form({
      id: 'sign-up',
      fields: [
        { ...userName(), hint: '3 to 64 letters, digits, dots, underscores or hyphens.' },
        { name: 'password', label: 'Password', type: 'password', autocomplete: 'new-password', required: true, hint: NEW_PASSWORD_HINT },
        { name: 'full_name', label: 'Full name', autocomplete: 'name', optional: true },
        { name: 'email', label: 'E-mail address', type: 'email', autocomplete: 'email', optional: true },
      ],
      submit: 'Sign up',
      send: signUpAndIn,
    }),
  ],
  links: () => [signInLink()],
};

/** @type {Guest} */
const COMPLETE_RESET = {
  title: 'Choose a new password',
  content: ({ userName: name }) => [
    h('p', {}, 'An operator who resets your password gives you a one-time password. It is good once.'),
    form({
      id: 'complete-reset',
      fields: [
        userName(name),
        { name: 'one_time_password', label: 'One-time password', autocomplete: 'one-time-code', required: true },
        {
          name: 'new_password',
          label: 'New password',
          type: 'password',
          autocomplete: 'new-password',
          required: true,
          hint: NEW_PASSWORD_HINT,
        },
      ],
      submit: 'Choose it and sign in',
      send: async ({ user_name, one_time_password, new_password }) => {
        try {
          await withCode((code) => completeReset(user_name, one_time_password, new_password, code));
        } catch (failure) {
          throw failure instanceof Failure && failure.reason === 'LOGIN_FAILED' ? new Failure('', WRONG_ONE_TIME, failure) : failure;
        }
      },
    }),
  ],
  links: () => [signInLink()],
};

/**
 * Signs in; where the user has a second factor, a code is asked for in place of the form, and what was typed is kept until then.
 * @param {(code?: string) => Promise<unknown>} go
 */
async function withCode(go) {
  try {
    await go();
  } catch (failure) {
    if (!(failure instanceof Failure) || failure.reason !== 'SECOND_FACTOR_REQUIRED') throw failure;
    askForCode(go);
  }
}

/** @param {(code?: string) => Promise<unknown>} go */
function askForCode(go) {
  const ask = form({
    id: 'second-factor-code',
    fields: [codeField()],
    submit: 'Sign in',
    send: ({ second_factor_code }) => go(second_factor_code),
    beside: [button('Cancel', () => showGuest(part('guest'), path(), { said: '', userName: '' }), { id: 'second-factor-code-cancel' })],
  });
  const heading = h('h1', { id: 'guest-heading', tabindex: '-1' }, 'Your second factor');
  part('guest').replaceChildren(h('section', { class: 'guest', 'aria-labelledby': heading.id }, heading, ask));
  focusOn(ask.querySelector('input'));
}

const WRONG_ONE_TIME = "User name and one-time password don't match, or it was used or is past its time. An operator can make another";

/** The name whose sign-up may have worked, though no answer said so or what came after it failed. */
let perhapsMade = '';

/** @param {import('./form.js').Values} values */
async function signUpAndIn({ user_name, password, full_name, email }) {
  try {
    await send('/tollgate.auth.v1.Accounts/SignUp', { userName: user_name, password, fullName: full_name, email });
    perhapsMade = user_name;
  } catch (failure) {
    const isMine = failure instanceof Failure && failure.reason === 'USER_NAME_TAKEN' && perhapsMade === user_name;
    if (failure instanceof Failure && failure.isUncertain) perhapsMade = user_name;
    if (!isMine) throw failure;
  }
  await signIn(user_name, password);
}

function signInLink() {
  return h('a', { id: 'to-sign-in', href: '#/' }, 'Sign in with a password');
}

function signUpLink() {
  return settings().sign_up === 'open' ? h('a', { id: 'to-sign-up', href: '#/sign-up' }, 'Sign up') : undefined;
}

/**
 * What whoever came by this address is told.
 * @param {string} path
 */
function why(path) {
  if (path === 'device') return 'Sign in to approve the device.';
  if (path === 'invitation') return 'Sign in, or sign up, to look at the invitation.';
  const failed = path === 'sign-in' && parameter('failed');
  if (!failed) return '';
  // Loaded anew, it would be told again.
  replaceAddress('#/');
  return wordsOf(failed);
}

/**
 * Shows the form that the address names.
 * @param {HTMLElement} root
 * @param {string} path Behind `#/`; what isn't known is signing in.
 * @param {Told} told
 * @returns {string} Its title.
 */
export function showGuest(root, path, told) {
  const said = told.said || why(path);
  const wanted = path === 'sign-up' ? SIGN_UP : path === 'complete-reset' ? COMPLETE_RESET : SIGN_IN;
  const guest = wanted === SIGN_UP && settings().sign_up !== 'open' ? SIGN_IN : wanted;
  root.replaceChildren(
    h(
      'section',
      { class: 'guest', 'aria-labelledby': 'guest-heading' },
      h('h1', { id: 'guest-heading', tabindex: '-1' }, guest.title),
      said && h('p', { id: 'why-signed-out', class: 'notice', role: 'alert' }, said),
      ...guest.content(told),
      h('ul', { class: 'ways', 'aria-label': 'Other ways' }, ...guest.links().map((link) => link && h('li', {}, link))),
    ),
  );
  const fields = /** @type {NodeListOf<HTMLInputElement>} */ (root.querySelectorAll('input'));
  focusOn(Array.from(fields).find((field) => !field.value));
  return guest.title;
}
