// What an invitation is to, and accepting it.

import { goTo, parameter, replaceAddress } from './address.js';
import { button, focusOn, h, theirs } from './dom.js';
import { credits } from './exact.js';
import { words } from './failure.js';
import { form } from './form.js';
import { addressOf, roleInWords } from './organizations-view.js';
import { readOrganizations } from './organizations.js';
import { call } from './rpc.js';
import { facts } from './table.js';
import { time } from './times.js';
import { loaded } from './view.js';

/** @typedef {import('./organization-view.js').Invitation} Invitation */

/** @type {import('./view.js').View} */
export const invitationView = {
  path: 'invitation',
  title: 'Invitation',
  within: 'organizations',
  show(section, signal) {
    const place = h('div', {});
    section.append(place);
    const code = parameter('code');
    if (!code) return askForCode(place);
    // It is good once, and needn't stay where whoever comes after reads it.
    replaceAddress('#/invitation');
    look(place, code, signal);
  },
};

/** @param {HTMLElement} place */
function askForCode(place) {
  const ask = form({
    id: 'invitation',
    fields: [{ name: 'invitation_code', label: 'Code', required: true, hint: 'An owner of the organization gave it to you.' }],
    submit: 'Look at the invitation',
    send: async ({ invitation_code }) => {
      const { invitation } = await call('Accounts/GetInvitation', { invitationCode: invitation_code });
      place.replaceChildren(...shown(invitation, invitation_code));
      focusOn(place.querySelector('h2'));
    },
  });
  place.replaceChildren(ask);
  focusOn(ask.querySelector('input'));
}

/**
 * @param {HTMLElement} place
 * @param {string} code
 * @param {AbortSignal} signal
 */
function look(place, code, signal) {
  const read = loaded('invitation-read', async () => {
    const { invitation } = await call('Accounts/GetInvitation', { invitationCode: code }, signal);
    return shown(invitation, code);
  });
  place.replaceChildren(read.element);
  read.load();
}

/**
 * @param {Invitation} invitation
 * @param {string} code
 */
function shown({ accountId, organizationName, role, monthlyCapCredits, note, createdByName, expiresAt }, code) {
  const failed = h('p', { id: 'invitation-failure', class: 'failure', role: 'alert', tabindex: '-1' });
  const accept = button(
    'Accept',
    async () => {
      if (accept.ariaDisabled === 'true') return;
      accept.ariaDisabled = 'true';
      failed.textContent = '';
      try {
        const { organization } = await call('Accounts/AcceptInvitation', { invitationCode: code });
        await readOrganizations();
        goTo(addressOf(organization?.accountId ?? accountId), `You are a member of ${organization?.name ?? organizationName} now.`);
      } catch (failure) {
        accept.ariaDisabled = 'false';
        failed.textContent = words(failure);
      }
    },
    { id: 'accept-invitation', class: 'main' },
  );
  return [
    h('h2', { tabindex: '-1' }, theirs(organizationName)),
    h('p', {}, theirs(createdByName), ' invites you to become ', roleInWords(role) === 'owner' ? 'an owner.' : 'a member.'),
    facts([
      ['Account', h('code', {}, accountId)],
      ['May spend in a month', monthlyCapCredits === undefined ? 'no bound' : credits(monthlyCapCredits)],
      ['Good until', time(expiresAt)],
      ...(note ? [/** @type {[string, Node]} */ (['For', theirs(note)])] : []),
    ]),
    failed,
    h('div', { class: 'buttons' }, accept, h('a', { href: '#/organizations', class: 'button' }, 'Not now')),
  ];
}
