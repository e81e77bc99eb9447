// The organizations that somebody is a member of.

import { isOwner } from './account.js';
import { goTo } from './address.js';
import { say } from './announce.js';
import { formDialog } from './dialog.js';
import { button, h, theirs } from './dom.js';
import { credits } from './exact.js';
import { form } from './form.js';
import { readOrganizations } from './organizations.js';
import { call } from './rpc.js';
import { facts } from './table.js';
import { time } from './times.js';
import { loaded, me } from './view.js';

/** @typedef {import('./account.js').Organization} Organization */

/** @type {import('./view.js').View} */
export const organizationsView = {
  path: 'organizations',
  title: 'Organizations',
  show(section, signal) {
    const list = loaded('organizations', async () => {
      const all = await readOrganizations(signal);
      if (all.length === 0) return [h('p', { class: 'hint' }, 'You are a member of none.')];
      return [h('ul', { class: 'cards', 'aria-label': 'Organizations' }, ...all.map(card))];
    });
    section.append(
      h(
        'p',
        { class: 'lead' },
        'Members of an organization spend the credits of one account. Owners say who is in, and how much each may spend.',
      ),
      h(
        'div',
        { class: 'buttons' },
        button('Make an organization', () => askForOrganization(list.load), { id: 'ask-for-organization', class: 'main' }),
        h('a', { href: '#/invitation', class: 'button' }, 'I have an invitation'),
      ),
      list.element,
    );
    if (me().isOperator) section.append(h('h2', {}, 'Another organization'), another());
    list.load();
  },
};

/**
 * The address of an organization's view.
 * @param {string} accountId
 */
export function addressOf(accountId) {
  return `#/organization?account=${encodeURIComponent(accountId)}`;
}

/**
 * What somebody may do there, in a word.
 * @param {string | undefined} role
 */
export function roleInWords(role) {
  return role === 'MEMBER_ROLE_OWNER' ? 'owner' : 'member';
}

/**
 * What may be spent in a month, and what was.
 * @param {{monthlyCapCredits?: string, spentThisMonthCredits?: string}} of
 * @returns {Array<[string, string]>}
 */
export function spending({ monthlyCapCredits, spentThisMonthCredits }) {
  return [
    ['May spend in a month', monthlyCapCredits === undefined ? 'no bound' : credits(monthlyCapCredits)],
    ['Spent this month (UTC)', spentThisMonthCredits === undefined ? '–' : credits(spentThisMonthCredits)],
  ];
}

/** @param {Organization} organization */
function card({ accountId, name, createdAt, me: place }) {
  return h(
    'li',
    { id: `organization-${accountId}`, class: 'card' },
    h(
      'h2',
      {},
      h('a', { href: addressOf(accountId) }, theirs(name)),
      ' ',
      h('span', { class: isOwner(place) ? 'badge good' : 'badge' }, roleInWords(place?.role)),
    ),
    facts([['Account', h('code', {}, accountId)], ['Made', time(createdAt)], ...spending(place ?? {})]),
  );
}

/** @param {() => Promise<void>} reload */
function askForOrganization(reload) {
  formDialog({
    id: 'make-organization',
    title: 'Make an organization',
    intro: ['You are its first owner. Its account has no credits until an operator grants it some.'],
    fields: [{ name: 'name', label: 'Name', required: true, hint: 'Up to 100 characters.' }],
    submit: 'Make the organization',
    send: ({ name }) => call('Accounts/CreateOrganization', { name }),
    done: async ({ organization }) => {
      await reload();
      say(`${organization.name} is there.`);
    },
  });
}

/** Operators may look after any, and are members of few. */
function another() {
  return form({
    id: 'other-organization',
    inline: true,
    fields: [{ name: 'account_id', label: 'Its account', required: true, hint: 'As its members see it, under Account.' }],
    submit: 'Show the organization',
    send: async ({ account_id }) => {
      goTo(addressOf(account_id));
    },
  });
}
