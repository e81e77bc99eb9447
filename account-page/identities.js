// The issuers' identities that sign the user in: those there are, another one, one less.

import { say } from './announce.js';
import { formDialog } from './dialog.js';
import { button, h, theirs, unseen } from './dom.js';
import { counted } from './exact.js';
import { issuerInWords, issuerOf, linkButton } from './issuers.js';
import { call } from './rpc.js';
import { settings } from './settings.js';
import { facts } from './table.js';
import { time } from './times.js';
import { loaded } from './view.js';

/**
 * @typedef {object} Identity
 * @property {string} issuer Its identifier.
 * @property {string} [issuerName] Its name here; absent: it is configured no longer.
 * @property {string} subject
 * @property {string} [email]
 * @property {string} [linkedAt]
 */

/**
 * @param {AbortSignal} signal
 * @param {() => Promise<void>} sessionsChanged
 */
export function identities(signal, sessionsChanged) {
  const list = loaded('identities', async () => {
    const answer = await call('Accounts/ListIdentities', {}, signal);
    const linked = /** @type {Identity[]} */ (answer.identities ?? []);
    const reload = async () => {
      await Promise.all([list.load(), sessionsChanged()]);
    };
    /** @type {Node[]} */
    const content = linked.length
      ? [h('ul', { class: 'cards', 'aria-label': 'Identities' }, ...linked.map((each, index) => card(each, index, reload)))]
      : [h('p', { class: 'hint' }, 'None signs you in.')];
    const free = (settings().issuers ?? []).filter(({ name }) => !linked.some(({ issuerName }) => issuerName === name));
    if (free.length) {
      const failed = h('p', { id: 'link-failure', class: 'failure', role: 'alert', tabindex: '-1' });
      content.push(h('div', { class: 'buttons' }, ...free.map(({ name }) => linkButton(name, failed))), failed);
    }
    return content;
  });
  return list;
}

/** @param {Identity} identity */
function nameOf({ issuer, issuerName }) {
  return issuerName ? issuerInWords(issuerName) : issuerOf(issuer);
}

/**
 * @param {Identity} identity
 * @param {number} index
 * @param {() => Promise<void>} reload
 */
function card(identity, index, reload) {
  const name = nameOf(identity);
  return h(
    'li',
    { id: `identity-${index}`, class: 'card' },
    h('h3', {}, theirs(name), identity.issuerName ? '' : ' ', identity.issuerName ? '' : h('span', { class: 'badge' }, 'not configured')),
    facts([
      ['E-mail address there', identity.email ? theirs(identity.email) : '–'],
      ['Who it is there', h('code', {}, theirs(identity.subject))],
      ['Linked', time(identity.linkedAt)],
    ]),
    h(
      'div',
      { class: 'buttons' },
      button('Unlink', () => askToUnlink(identity, reload), { id: `identity-${index}-unlink`, class: 'danger' }, unseen(` ${name}`)),
    ),
  );
}

/**
 * @param {Identity} identity
 * @param {() => Promise<void>} reload
 */
function askToUnlink(identity, reload) {
  const name = nameOf(identity);
  formDialog({
    id: 'unlink-identity',
    title: 'Unlink the identity?',
    intro: [theirs(name), ' signs you in no longer, and the sessions that it began end.'],
    submit: 'Unlink',
    danger: true,
    send: async () => {
      const { endedSessions = 0 } = await call('Accounts/UnlinkIdentity', { issuer: identity.issuer, subject: identity.subject });
      await reload();
      say(`${name} is unlinked. ${counted(endedSessions, 'session')} ended.`);
    },
  });
}
