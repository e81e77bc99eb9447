// The forms that change who is in an organization, and who is invited.

import { goTo } from './address.js';
import { say } from './announce.js';
import { copyable } from './copy.js';
import { formDialog, openDialog } from './dialog.js';
import { button, h, theirs } from './dom.js';
import { roleInWords } from './organizations-view.js';
import { call } from './rpc.js';
import { duration, time } from './times.js';

/** @typedef {import('./account.js').Place} Member */
/** @typedef {import('./account.js').Organization} Organization */
/** @typedef {import('./organization-view.js').Invitation} Invitation */
/** @typedef {() => Promise<void>} Reload */

const DAY_SECONDS = 86_400;

const LIFETIMES = [
  { value: '3600', label: '1 hour' },
  { value: String(DAY_SECONDS), label: '1 day' },
  { value: String(7 * DAY_SECONDS), label: '7 days' },
  { value: String(30 * DAY_SECONDS), label: '30 days' },
];

/** @type {import('./form.js').Field} */
const ROLE = {
  name: 'role',
  label: 'Role',
  type: 'select',
  options: [
    { value: 'MEMBER_ROLE_MEMBER', label: 'member: spends, and makes keys' },
    { value: 'MEMBER_ROLE_OWNER', label: 'owner: also says who is in, and what each may spend' },
  ],
};

/**
 * @param {string} [value]
 * @returns {import('./form.js').Field}
 */
export function capField(value) {
  return {
    name: 'monthly_cap_credits',
    label: 'Credits in a month',
    hint: 'A calendar month of UTC. 0: nothing more. Empty: no bound but what the account has.',
    optional: true,
    value,
  };
}

/**
 * As the contract has it: absent is no cap.
 * @param {string} text
 */
export function capOf(text) {
  return text === '' ? {} : { monthlyCapCredits: text };
}

/**
 * @param {string} accountId
 * @param {Reload} reload
 */
export function askToAdd(accountId, reload) {
  formDialog({
    id: 'member-to-add',
    title: 'Add a member',
    fields: [{ name: 'user_name', label: 'User name', required: true }, ROLE, capField()],
    submit: 'Add',
    send: ({ user_name, role, monthly_cap_credits }) =>
      call('Accounts/AddMember', { accountId, userName: user_name, role, ...capOf(monthly_cap_credits) }),
    done: async ({ member }) => {
      await reload();
      say(`${member.userName} is in.`);
    },
  });
}

/**
 * @param {string} accountId
 * @param {Reload} reload
 */
export function askToInvite(accountId, reload) {
  formDialog({
    id: 'invite',
    title: 'Invite somebody',
    intro: ['Whoever has the code and signs in here becomes a member. It is good once.'],
    fields: [
      { name: 'note', label: 'Who it is for', hint: 'For you to tell it from others. Whoever is invited reads it too.', optional: true },
      ROLE,
      capField(),
      { name: 'lifetime', label: 'Good for', type: 'select', options: LIFETIMES, value: String(7 * DAY_SECONDS) },
    ],
    submit: 'Make the invitation',
    send: ({ note, role, monthly_cap_credits, lifetime }) =>
      call('Accounts/InviteMember', { accountId, role, note, lifetime: duration(Number(lifetime)), ...capOf(monthly_cap_credits) }),
    done: async (answer) => {
      showInvitation(answer.invitationCode, answer.invitation);
      await reload();
    },
  });
}

/**
 * @param {string} code
 * @param {Invitation} invitation
 */
function showInvitation(code, invitation) {
  // Behind `#`: no server, and no log of one, sees it.
  const link = `${location.origin}/#/invitation?code=${encodeURIComponent(code)}`;
  const done = button('I have kept it', () => dialog.close(), { id: 'new-invitation-done', class: 'main' });
  const dialog = openDialog({
    id: 'new-invitation',
    title: 'The invitation',
    keep: true,
    content: [
      h('p', {}, 'Give one of these to one person. They are shown this once, and good once, until ', time(invitation.expiresAt), '.'),
      copyable({ id: 'new-invitation-link', text: link, what: 'the link' }),
      copyable({ id: 'new-invitation-code', text: code, what: 'the code' }),
      h('div', { class: 'buttons' }, done),
    ],
  });
}

/**
 * @param {Invitation} invitation
 * @param {Reload} reload
 */
export function askToWithdraw({ accountId, invitationId, note }, reload) {
  formDialog({
    id: 'withdraw-invitation',
    title: 'Withdraw the invitation?',
    intro: note ? ['That for ', theirs(note), ' is good for nothing then.'] : ['Its code is good for nothing then.'],
    submit: 'Withdraw',
    danger: true,
    send: async () => {
      await call('Accounts/WithdrawInvitation', { accountId, invitationId });
      await reload();
      say('The invitation is withdrawn.');
    },
  });
}

/**
 * @param {string} accountId
 * @param {Member} member
 * @param {Reload} reload
 */
export function askForRole(accountId, { userId, userName, role }, reload) {
  const next = role === 'MEMBER_ROLE_OWNER' ? 'MEMBER_ROLE_MEMBER' : 'MEMBER_ROLE_OWNER';
  const isOwnerNext = next === 'MEMBER_ROLE_OWNER';
  formDialog({
    id: 'change-role',
    title: isOwnerNext ? 'Make them an owner?' : 'Make them a member?',
    intro: [
      theirs(userName),
      isOwnerNext
        ? ' may then say who is in, what each may spend, and sees what all have spent.'
        : ' spends and makes keys then, and changes nothing of the organization.',
    ],
    submit: isOwnerNext ? 'Make an owner' : 'Make a member',
    danger: !isOwnerNext,
    send: async () => {
      await call('Accounts/SetMemberRole', { accountId, userId, role: next });
      await reload();
      say(`${userName} is ${roleInWords(next)} now.`);
    },
  });
}

/**
 * @param {string} accountId
 * @param {Member} member
 * @param {Reload} reload
 */
export function askForCap(accountId, { userId, userName, monthlyCapCredits }, reload) {
  formDialog({
    id: 'set-cap',
    title: 'Set the cap',
    intro: ['What ', theirs(userName), " may spend of the organization's credits in a month. What was spent this month counts."],
    fields: [capField(monthlyCapCredits)],
    submit: 'Set the cap',
    send: async ({ monthly_cap_credits }) => {
      await call('Accounts/SetMemberCap', { accountId, userId, ...capOf(monthly_cap_credits) });
      await reload();
      say(`The cap of ${userName} is set.`);
    },
  });
}

/**
 * @param {string} accountId
 * @param {Member} member
 * @param {Reload} reload
 */
export function askToRemove(accountId, { userId, userName }, reload) {
  formDialog({
    id: 'remove-member',
    title: 'Remove the member?',
    intro: [theirs(userName), "'s keys of this account are revoked, and answers that run are cut off. That can't be undone."],
    submit: 'Remove',
    danger: true,
    send: async () => {
      await call('Accounts/RemoveMember', { accountId, userId });
      await reload();
      say(`${userName} is out.`);
    },
  });
}

/** @param {Organization} organization */
export function askToLeave({ accountId, name }) {
  formDialog({
    id: 'leave',
    title: 'Leave the organization?',
    intro: ['Your keys of ', theirs(name), " are revoked, and answers that run are cut off. That can't be undone."],
    submit: 'Leave',
    danger: true,
    send: () => call('Accounts/RemoveMember', { accountId }),
    done: () => goTo('#/organizations', `You have left ${name}.`),
  });
}
