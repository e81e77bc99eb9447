// The forms that make, bound and remove an organization's service accounts.

import { say } from './announce.js';
import { formDialog } from './dialog.js';
import { theirs } from './dom.js';
import { capField, capOf } from './member-forms.js';
import { call } from './rpc.js';

/** @typedef {import('./organization-view.js').ServiceAccount} ServiceAccount */
/** @typedef {() => Promise<void>} Reload */

/**
 * @param {string} accountId
 * @param {Reload} reload
 */
export function askForServiceAccount(accountId, reload) {
  formDialog({
    id: 'make-service-account',
    title: 'Make a service account',
    fields: [{ name: 'name', label: 'Name', required: true, hint: 'Such as the program that it is for.' }, capField()],
    submit: 'Make the service account',
    send: ({ name, monthly_cap_credits }) => call('Accounts/CreateServiceAccount', { accountId, name, ...capOf(monthly_cap_credits) }),
    done: async ({ serviceAccount }) => {
      await reload();
      say(`${serviceAccount.name} is there. It can do nothing before it has a key.`);
    },
  });
}

/**
 * @param {string} accountId
 * @param {ServiceAccount} service
 * @param {Reload} reload
 */
export function askForServiceCap(accountId, { serviceAccountId, name, monthlyCapCredits }, reload) {
  formDialog({
    id: 'set-cap',
    title: 'Set the cap',
    intro: ['What ', theirs(name), " may spend of the organization's credits in a month. What was spent this month counts."],
    fields: [capField(monthlyCapCredits)],
    submit: 'Set the cap',
    send: async ({ monthly_cap_credits }) => {
      await call('Accounts/SetMemberCap', { accountId, userId: serviceAccountId, ...capOf(monthly_cap_credits) });
      await reload();
      say(`The cap of ${name} is set.`);
    },
  });
}

/**
 * @param {string} accountId
 * @param {ServiceAccount} service
 * @param {Reload} reload
 */
export function askToRemoveServiceAccount(accountId, { serviceAccountId, name }, reload) {
  formDialog({
    id: 'remove-service-account',
    title: 'Remove the service account?',
    intro: [theirs(name), "'s keys are revoked, and answers that run are cut off. That can't be undone."],
    submit: 'Remove',
    danger: true,
    send: async () => {
      await call('Accounts/RemoveServiceAccount', { accountId, serviceAccountId });
      await reload();
      say(`${name} is removed.`);
    },
  });
}
