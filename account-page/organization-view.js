// One organization: who is in it, who was invited, and the programs that belong to it.

import { choose, isOwner } from './account.js';
import { goTo, parameter } from './address.js';
import { say } from './announce.js';
import { button, h, theirs, unseen } from './dom.js';
import { grouped } from './exact.js';
import { Failure } from './failure.js';
import { askForKey } from './key-forms.js';
import { showMade } from './keys-view.js';
import { askForCap, askForRole, askToAdd, askToInvite, askToLeave, askToRemove, askToWithdraw } from './member-forms.js';
import { roleInWords, spending } from './organizations-view.js';
import { readOrganizations } from './organizations.js';
import { call } from './rpc.js';
import { askForServiceAccount, askForServiceCap, askToRemoveServiceAccount } from './service-account-forms.js';
import { facts, table } from './table.js';
import { time } from './times.js';
import { askForGrantTo } from './user-forms.js';
import { loaded, me } from './view.js';

/** @typedef {import('./account.js').Organization} Organization */
/** @typedef {import('./account.js').Place} Member */

/**
 * @typedef {object} Invitation
 * @property {string} invitationId
 * @property {string} accountId
 * @property {string} [organizationName]
 * @property {string} [role]
 * @property {string} [monthlyCapCredits]
 * @property {string} [note]
 * @property {string} [createdByName]
 * @property {string} [createdAt]
 * @property {string} [expiresAt]
 */

/**
 * @typedef {object} ServiceAccount
 * @property {string} serviceAccountId
 * @property {string} name
 * @property {string} [createdAt]
 * @property {string} [createdBy]
 * @property {string} [monthlyCapCredits]
 * @property {string} [spentThisMonthCredits]
 */

/** @type {import('./view.js').View} */
export const organizationView = {
  path: 'organization',
  title: 'Organization',
  within: 'organizations',
  show(section, signal) {
    const accountId = parameter('account');
    const parts = loaded('organization', async () => {
      const all = await readOrganizations(signal);
      const its = all.find((each) => each.accountId === accountId);
      if (!its && !me().isOperator) throw new Failure('ORGANIZATION_NOT_FOUND', '');
      return shown(its ?? { accountId, name: '' }, signal, parts.load);
    });
    section.append(parts.element);
    parts.load();
  },
};

/**
 * @param {Organization} organization
 * @param {AbortSignal} signal
 * @param {() => Promise<void>} again Reads all of it anew.
 * @returns {Node[]}
 */
function shown(organization, signal, again) {
  const { accountId, name, createdAt, me: place } = organization;
  const isMember = place !== undefined;
  const mayChange = isOwner(place) || me().isOperator;
  const members = loaded('members', () => readMembers(organization, mayChange, signal, members.load, again));
  const services = loaded('service-accounts', () => readServices(accountId, mayChange, signal, services.load));
  const invitations = loaded('invitations', () => readInvitations(accountId, signal, invitations.load));
  const buttons = [
    isMember && button('Use its account', () => use(accountId), { id: 'use-account', class: 'main' }),
    me().isOperator && button('Grant credits', () => askForGrantTo(accountId, name), { id: 'grant-to-organization' }),
    isMember && button('Leave', () => askToLeave(organization), { id: 'leave-organization', class: 'danger' }),
  ];
  /** @type {Node[]} */
  const content = [
    h('h2', { id: 'organization-name', tabindex: '-1' }, theirs(name || accountId)),
    facts([
      ['Account', h('code', {}, accountId)],
      ['Made', time(createdAt)],
      ['You are', isMember ? roleInWords(place.role) : 'an operator, and no member'],
      ...(isMember ? spending(place) : []),
    ]),
    h('div', { class: 'buttons' }, ...buttons),
    h('h2', {}, 'Members'),
  ];
  if (mayChange) {
    content.push(
      h(
        'div',
        { class: 'buttons' },
        button('Add a member', () => askToAdd(accountId, members.load), { id: 'add-member' }),
        button('Invite somebody', () => askToInvite(accountId, invitations.load), { id: 'invite-member' }),
      ),
    );
  }
  content.push(members.element);
  if (mayChange) content.push(h('h2', {}, 'Invitations'), invitations.element);
  content.push(
    h('h2', {}, 'Service accounts'),
    h('p', { class: 'hint' }, 'For programs: their keys go on when the people who made them leave.'),
  );
  if (mayChange) {
    const make = () => askForServiceAccount(accountId, services.load);
    content.push(h('div', { class: 'buttons' }, button('Make a service account', make, { id: 'ask-for-service-account' })));
  }
  content.push(services.element);
  for (const part of mayChange ? [members, invitations, services] : [members, services]) part.load();
  return content;
}

/** @param {string} accountId */
function use(accountId) {
  choose(accountId);
  goTo('#/');
}

/** @param {string | undefined} cap */
function capCell(cap) {
  return cap === undefined ? 'no bound' : grouped(cap);
}

/** @param {string | undefined} spent Absent: it isn't told. */
function spentCell(spent) {
  return spent === undefined ? '–' : grouped(spent);
}

/**
 * @param {Organization} organization
 * @param {boolean} mayChange
 * @param {AbortSignal} signal
 * @param {() => Promise<void>} reload
 * @param {() => Promise<void>} again
 */
async function readMembers(organization, mayChange, signal, reload, again) {
  const { members = [] } = await call('Accounts/ListMembers', { accountId: organization.accountId }, signal);
  const { element, add } = table('Whoever has been in longest first, with the credits of this month (UTC)', [
    { title: 'Member', isHead: true },
    { title: 'Since' },
    { title: 'Cap', isNumber: true },
    { title: 'Spent', isNumber: true },
    ...(mayChange ? [{ title: 'Actions' }] : []),
  ]);
  for (const member of /** @type {Member[]} */ (members)) {
    const isMe = member.userId === me().userId;
    const isTold = mayChange || isMe;
    const row = add([
      [
        theirs(member.userName),
        ' ',
        h('span', { class: isOwner(member) ? 'badge good' : 'badge' }, roleInWords(member.role)),
        member.disabled && ' ',
        member.disabled && h('span', { class: 'badge bad' }, 'disabled'),
      ],
      time(member.addedAt),
      isTold ? capCell(member.monthlyCapCredits) : '–',
      isTold ? spentCell(member.spentThisMonthCredits) : '–',
      // Whoever changes their own place sees another view of it.
      mayChange && memberActions(organization.accountId, member, isMe ? again : reload, isMe),
    ]);
    row.id = `member-${member.userId}`;
  }
  return [element];
}

/**
 * @param {string} accountId
 * @param {Member} member
 * @param {() => Promise<void>} reload
 * @param {boolean} isMe
 */
function memberActions(accountId, member, reload, isMe) {
  const id = `member-${member.userId}`;
  const action = (/** @type {string} */ label, /** @type {string} */ name, /** @type {() => unknown} */ click, isDanger = false) =>
    button(label, click, { id: `${id}-${name}`, class: isDanger ? 'danger small' : 'small' }, unseen(` ${member.userName}`));
  return h(
    'div',
    { class: 'buttons' },
    action(isOwner(member) ? 'Make a member' : 'Make an owner', 'role', () => askForRole(accountId, member, reload), isOwner(member)),
    action('Set the cap', 'cap', () => askForCap(accountId, member, reload)),
    // Whoever wants to go themselves has a button for that.
    !isMe && action('Remove', 'remove', () => askToRemove(accountId, member, reload), true),
  );
}

/**
 * @param {string} accountId
 * @param {AbortSignal} signal
 * @param {() => Promise<void>} reload
 */
async function readInvitations(accountId, signal, reload) {
  const { invitations = [] } = await call('Accounts/ListInvitations', { accountId }, signal);
  if (invitations.length === 0) return [h('p', { class: 'hint' }, 'None is open.')];
  const { element, add } = table('The newest first', [
    { title: 'For', isHead: true },
    { title: 'As' },
    { title: 'Cap', isNumber: true },
    { title: 'Made by' },
    { title: 'Good until' },
    { title: 'Action' },
  ]);
  for (const invitation of /** @type {Invitation[]} */ (invitations)) {
    const { invitationId, note } = invitation;
    const withdraw = button(
      'Withdraw',
      () => askToWithdraw(invitation, reload),
      { id: `invitation-${invitationId}-withdraw`, class: 'danger small' },
      unseen(` invitation ${invitationId} ${note ?? ''}`),
    );
    add([
      note ? theirs(note) : 'whoever has the code',
      roleInWords(invitation.role),
      capCell(invitation.monthlyCapCredits),
      theirs(invitation.createdByName),
      time(invitation.expiresAt),
      withdraw,
    ]);
  }
  return [element];
}

/**
 * @param {string} accountId
 * @param {boolean} mayChange
 * @param {AbortSignal} signal
 * @param {() => Promise<void>} reload
 */
async function readServices(accountId, mayChange, signal, reload) {
  const { serviceAccounts = [] } = await call('Accounts/ListServiceAccounts', { accountId }, signal);
  if (serviceAccounts.length === 0) return [h('p', { class: 'hint' }, 'There is none.')];
  const { element, add } = table('The oldest first, with the credits of this month (UTC)', [
    { title: 'Service account', isHead: true },
    { title: 'Made' },
    { title: 'Cap', isNumber: true },
    { title: 'Spent', isNumber: true },
    ...(mayChange ? [{ title: 'Actions' }] : []),
  ]);
  for (const service of /** @type {ServiceAccount[]} */ (serviceAccounts)) {
    add([
      [theirs(service.name), h('div', { class: 'hint' }, h('code', {}, service.serviceAccountId))],
      time(service.createdAt),
      mayChange || service.monthlyCapCredits !== undefined ? capCell(service.monthlyCapCredits) : '–',
      spentCell(service.spentThisMonthCredits),
      mayChange && serviceActions(accountId, service, reload),
    ]);
  }
  return [element];
}

/**
 * @param {string} accountId
 * @param {ServiceAccount} service
 * @param {() => Promise<void>} reload
 */
function serviceActions(accountId, service, reload) {
  const { serviceAccountId, name } = service;
  const action = (/** @type {string} */ label, /** @type {string} */ id, /** @type {() => unknown} */ click, isDanger = false) =>
    button(label, click, { id: `service-${serviceAccountId}-${id}`, class: isDanger ? 'danger small' : 'small' }, unseen(` ${name}`));
  const made = showMade(async () => say(`The key of ${name} is among the keys of the organization's account.`));
  return h(
    'div',
    { class: 'buttons' },
    action('Make a key', 'key', () => askForKey(made, { accountId, serviceAccountId, name })),
    action('Set the cap', 'cap', () => askForServiceCap(accountId, service, reload)),
    action('Remove', 'remove', () => askToRemoveServiceAccount(accountId, service, reload), true),
  );
}

