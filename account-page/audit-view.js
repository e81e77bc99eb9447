// The audit log, for operators: what was done and tried, and by whom.

import { clientName } from './client-name.js';
import { button, h, theirs } from './dom.js';
import { form } from './form.js';
import { call } from './rpc.js';
import { table } from './table.js';
import { time } from './times.js';
import { paged } from './view.js';

/**
 * @typedef {object} AuditEvent
 * @property {string} [createdAt]
 * @property {string} action
 * @property {string} [actorName]
 * @property {string} [actorUserId]
 * @property {string} [actorCredentialId]
 * @property {string} [subjectName]
 * @property {string} [subjectUserId]
 * @property {string} [subjectId] A key's or a session's.
 * @property {string} [failure] Empty: it worked.
 * @property {string} [address]
 * @property {string} [client]
 * @property {string} [detail]
 * @property {string} [requestId]
 */

const PAGE_SIZE = 50;

/** To choose from; others may be typed. */
const ACTIONS = [
  'sign_up',
  'sign_in',
  'refresh',
  'sign_out',
  'sign_out_everywhere',
  'revoke_session',
  'change_password',
  'complete_password_reset',
  'revoke_credential',
  'create_api_key',
  'rotate_api_key',
  'revoke_api_key',
  'create_user',
  'create_admin',
  'disable_user',
  'enable_user',
  'lock_user',
  'unlock_user',
  'reset_password',
  'grant_credits',
  'list_users',
  'list_audit_events',
  'manage_models',
  'export_ledger',
  'create_organization',
  'invite_member',
  'withdraw_invitation',
  'accept_invitation',
  'add_member',
  'remove_member',
  'set_member_role',
  'set_member_cap',
  'create_service_account',
  'remove_service_account',
  'sign_in_with_issuer',
  'sign_up_with_issuer',
  'link_identity',
  'unlink_identity',
  'begin_device_sign_in',
  'approve_device',
  'deny_device',
  'device_sign_in',
  'begin_second_factor',
  'enable_second_factor',
  'disable_second_factor',
  'step_up',
  'create_recovery_codes',
  'use_recovery_code',
  'reset_second_factor',
  'list_all_organizations',
];

/** @type {import('./view.js').View} */
export const auditView = {
  path: 'audit',
  title: 'Audit log',
  forOperators: true,
  show(section, signal) {
    let wanted = { userName: '', action: '' };
    const events = paged({
      id: 'audit',
      read: async (pageToken) => {
        const answer = await call('Admin/ListAuditEvents', { pageSize: PAGE_SIZE, pageToken, ...wanted }, signal);
        return { items: /** @type {AuditEvent[]} */ (answer.events ?? []), next: answer.nextPageToken ?? '' };
      },
      list: () => {
        const { element, add } = table('Newest first', [
          { title: 'When' },
          { title: 'What', isHead: true },
          { title: 'By' },
          { title: 'To' },
          { title: 'From' },
          { title: 'Outcome' },
        ]);
        return { element, add: (event) => add(cells(event)) };
      },
      none: 'Nothing of the kind is in the log.',
      more: 'Show older events',
    });
    const filters = form({
      id: 'audit-filters',
      inline: true,
      fields: [
        { name: 'user_name', label: 'User' },
        { name: 'action', label: 'Action', suggestions: ACTIONS },
      ],
      submit: 'Show',
      send: async ({ user_name, action }) => {
        wanted = { userName: user_name, action };
        await events.load();
      },
      beside: [button('Read again', events.load, { id: 'audit-again' })],
    });
    section.append(filters, events.element);
    events.load();
  },
};

/**
 * @param {AuditEvent} event
 * @returns {import('./table.js').Cell[]}
 */
function cells(event) {
  const small = (/** @type {string | undefined} */ text) => text && h('div', { class: 'hint' }, theirs(text));
  const by = event.actorName || event.actorUserId;
  const to = event.subjectName || event.subjectUserId;
  return [
    [time(event.createdAt), small(event.requestId)],
    [h('code', {}, event.action), small(event.detail)],
    [by ? theirs(by) : 'nobody known', small(event.actorCredentialId)],
    [to ? theirs(to) : !event.subjectId && '–', event.subjectId && h('div', { class: 'hint' }, h('code', {}, event.subjectId))],
    [event.address ? h('code', {}, event.address) : '–', event.client && h('div', { class: 'hint' }, clientName(event.client))],
    event.failure ? h('span', { class: 'badge bad' }, event.failure) : h('span', { class: 'badge good' }, 'done'),
  ];
}
