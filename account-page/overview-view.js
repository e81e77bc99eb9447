// What there is to spend, and whose account it is.

import { chosen } from './account.js';
import { h, theirs } from './dom.js';
import { grouped } from './exact.js';
import { addressOf, roleInWords, spending } from './organizations-view.js';
import { call } from './rpc.js';
import { facts } from './table.js';
import { loaded, me } from './view.js';

/**
 * Credits: granted = available + held + spent + lapsed.
 * @typedef {object} Balance
 * @property {string} [availableCredits]
 * @property {string} [heldCredits]
 * @property {string} [spentCredits]
 * @property {string} [lapsedCredits]
 * @property {string} [grantedCredits]
 */

/** @type {import('./view.js').View} */
export const overviewView = {
  path: '',
  title: 'Overview',
  ofAccount: true,
  show(section, signal) {
    const balance = loaded('balance', async () => {
      const answer = await call('Accounts/GetBalance', {}, signal);
      return [figures(answer.balance ?? {})];
    });
    section.append(
      h('h2', {}, 'Credits'),
      balance.element,
      h('h2', {}, 'Next'),
      h(
        'ul',
        { class: 'next' },
        h('li', {}, h('a', { href: '#/try' }, 'Try a call'), ': ask a model from this page.'),
        h('li', {}, h('a', { href: '#/keys' }, 'Make a key'), ', for programs that call in your name.'),
        h('li', {}, h('a', { href: '#/usage' }, 'See what was used'), ', by day and by model.'),
      ),
      h('h2', {}, 'Account'),
      whose(),
    );
    balance.load();
  },
};

/** @param {Balance} balance */
function figures(balance) {
  /** @type {Array<[string, string | undefined, string]>} */
  const shown = [
    ['Available', balance.availableCredits, 'for the next calls'],
    ['Held', balance.heldCredits, 'by calls that run'],
    ['Spent', balance.spentCredits, 'in all'],
    ['Granted', balance.grantedCredits, 'in all'],
  ];
  if (balance.lapsedCredits && balance.lapsedCredits !== '0') shown.push(['Lapsed', balance.lapsedCredits, 'no longer usable']);
  const parts = shown.map(([name, value, hint], index) =>
    h('div', { class: index === 0 && 'first' }, h('dt', {}, name), h('dd', {}, grouped(value)), h('dd', { class: 'hint' }, hint)),
  );
  return h('dl', { class: 'figures' }, ...parts);
}

function whose() {
  const organization = chosen();
  return organization ? whoseTogether(organization) : whoseAlone();
}

/** @param {import('./account.js').Organization} organization */
function whoseTogether({ accountId, name, me: place }) {
  return facts([
    ['Organization', h('a', { href: addressOf(accountId) }, theirs(name))],
    ['You are', roleInWords(place?.role)],
    ...spending(place ?? {}),
    ['Account', h('code', {}, accountId)],
  ]);
}

function whoseAlone() {
  const { userName, fullName, email, isOperator, accountId } = me();
  return facts([
    ['User name', theirs(userName)],
    ['Full name', fullName ? theirs(fullName) : '–'],
    ['E-mail address', email ? theirs(email) : '–'],
    ['Role', isOperator ? 'operator' : 'user'],
    ['Account', h('code', {}, accountId)],
  ]);
}
