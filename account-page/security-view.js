// The password, and where the user is signed in.

import { parameter, replaceAddress } from './address.js';
import { say } from './announce.js';
import { formDialog } from './dialog.js';
import { button, focusOn, h, part, theirs, unseen } from './dom.js';
import { inWords } from './client-name.js';
import { counted } from './exact.js';
import { Failure, wordsOf } from './failure.js';
import { form } from './form.js';
import { identities } from './identities.js';
import { issuerOf } from './issuers.js';
import { call } from './rpc.js';
import { secondFactor } from './second-factor.js';
import { signOut } from './session.js';
import { facts } from './table.js';
import { time } from './times.js';
import { loaded, me } from './view.js';

/**
 * @typedef {object} OneSession
 * @property {string} sessionId
 * @property {string} [createdAt]
 * @property {string} [lastUsedAt]
 * @property {string} [refreshExpiresAt]
 * @property {string} [endsAt]
 * @property {string} [client]
 * @property {string} [address]
 * @property {string[]} [scopes]
 * @property {boolean} [current]
 * @property {string} [method] How it began.
 * @property {string} [issuer] Its identifier, where one began it.
 * @property {string} [secondFactorAt] When the second factor was last proved in it.
 */

/** @type {import('./view.js').View} */
export const securityView = {
  path: 'security',
  title: 'Security',
  show(section, signal) {
    const sessions = loaded('sessions', async () => {
      const answer = await call('Accounts/ListSessions', {}, signal);
      const cards = (answer.sessions ?? []).map((/** @type {OneSession} */ each) => card(each, sessions.load));
      return [h('ul', { class: 'cards', 'aria-label': 'Sessions' }, ...cards)];
    });
    const factor = secondFactor(signal);
    const others = identities(signal, sessions.load);
    section.append(
      ...linkedOrNot(),
      h('h2', { id: 'password-heading' }, 'Password'),
      passwordForm(sessions.load),
      h('h2', {}, 'Second factor'),
      factor.element,
      h('h2', {}, 'Sign-in with an issuer'),
      h('p', { class: 'lead' }, 'Such as Google. Whoever is signed in there as one of these is signed in here as you.'),
      others.element,
      h('h2', {}, 'Sessions'),
      h('p', { class: 'lead' }, "Where you are signed in. End what you don't know. API keys are not sessions: they stay in force."),
      h('p', {}, h('a', { href: '#/device' }, 'Approve a device'), ' that has no browser.'),
      h('div', { class: 'buttons' }, button('Sign out everywhere', askToEndAll, { id: 'end-all-sessions', class: 'danger' })),
      sessions.element,
    );
    for (const each of [factor, others, sessions]) each.load();
  },
};

/** What came of linking an identity, for whoever comes back from the issuer. */
function linkedOrNot() {
  const failed = parameter('failed');
  const linked = parameter('linked');
  if (!failed && !linked) return [];
  replaceAddress('#/security');
  if (failed) return [h('p', { id: 'not-linked', class: 'trouble', role: 'alert' }, wordsOf(failed))];
  return [h('p', { id: 'linked', class: 'notice', role: 'status' }, 'The identity is linked: it signs you in from now on.')];
}

/** @param {OneSession} session */
function methodInWords({ method, issuer }) {
  if (method === 'SIGN_IN_METHOD_ISSUER') return ['with ', theirs(issuerOf(issuer))];
  return method === 'SIGN_IN_METHOD_DEVICE' ? 'as a device that you approved' : 'with the password';
}

/**
 * @param {OneSession} session
 * @param {() => Promise<void>} reload
 */
function card(session, reload) {
  const name = session.client ? inWords(session.client) : session.sessionId;
  const mark = session.current && h('span', { class: 'badge good' }, 'this one');
  const id = `session-${session.sessionId}`;
  const about = facts([
    ['Address', session.address ? h('code', {}, session.address) : 'not known'],
    ['Signed in', time(session.createdAt)],
    ['How', methodInWords(session)],
    ...(session.secondFactorAt ? [/** @type {[string, Node]} */ (['Second factor', time(session.secondFactorAt)])] : []),
    ['Last used', time(session.lastUsedAt)],
    ['Ends unless used before', time(session.refreshExpiresAt)],
    ['Ends in any case', time(session.endsAt)],
    ...(session.scopes?.length ? [/** @type {[string, string]} */ (['Limited to', session.scopes.join(', ')])] : []),
  ]);
  about.id = `${id}-facts`;
  const element = h('li', { id, class: 'card' }, h('h3', { title: session.client }, theirs(name), ' ', mark), about);
  if (!session.current) {
    const end = button(
      'End',
      () => askToEnd(session, name, reload),
      // Two sessions of one kind of browser have the same name: what is known of each tells them apart.
      { id: `${id}-end`, class: 'danger', 'aria-describedby': about.id },
      unseen(` ${name}`),
    );
    element.append(h('div', { class: 'buttons' }, end));
  }
  return element;
}

/**
 * @param {OneSession} session
 * @param {string} name
 * @param {() => Promise<void>} reload
 */
function askToEnd(session, name, reload) {
  formDialog({
    id: 'end-session',
    title: 'End the session?',
    intro: [theirs(name), ' is signed out, and answers that run there are cut off.'],
    submit: 'End the session',
    danger: true,
    send: async () => {
      await call('Accounts/RevokeSession', { sessionId: session.sessionId });
      await reload();
      say('The session has ended.');
    },
  });
}

function askToEndAll() {
  formDialog({
    id: 'end-all',
    title: 'Sign out everywhere?',
    intro: ['All of your sessions end, this one too. API keys stay in force.'],
    submit: 'Sign out everywhere',
    danger: true,
    send: async () => {
      const { endedSessions = 0 } = await call('Accounts/LogoutEverywhere');
      await signOut(`You are signed out everywhere: ${counted(endedSessions, 'session')} ended.`);
    },
  });
}

/** @param {() => Promise<void>} reload */
function passwordForm(reload) {
  const id = 'change-password';
  const fresh = () =>
    form({
      id,
      fields: [
        { name: 'user_name', label: 'User name', autocomplete: 'username', value: me().userName, readonly: true },
        { name: 'current_password', label: 'Current password', type: 'password', autocomplete: 'current-password', required: true },
        {
          name: 'new_password',
          label: 'New password',
          type: 'password',
          autocomplete: 'new-password',
          required: true,
          hint: 'At least 15 characters. All other sessions end.',
        },
      ],
      submit: 'Change the password',
      send: async ({ current_password, new_password }) => {
        const { endedSessions = 0 } = await changed(current_password, new_password);
        place.replaceChildren(fresh());
        focusOn(part('password-heading'));
        say(`The password is changed. ${counted(endedSessions, 'other session')} ended.`);
        await reload();
      },
    });
  const place = h('div', { class: 'sheet narrow' });
  place.append(fresh());
  return place;
}

/**
 * @param {string} current
 * @param {string} wanted
 */
async function changed(current, wanted) {
  try {
    return await call('Accounts/ChangePassword', { currentPassword: current, newPassword: wanted });
  } catch (failure) {
    if (!(failure instanceof Failure) || failure.reason !== 'LOGIN_FAILED') throw failure;
    throw new Failure('INVALID_ARGUMENT', failure.message, { violations: new Map([['current_password', 'is not the one in force']]) });
  }
}
