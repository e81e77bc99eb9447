// Every change of the account's credits, and the receipts of requests.

import { chosenAccount } from './account.js';
import { openDialog } from './dialog.js';
import { button, h, theirs, unseen } from './dom.js';
import { counted, grouped, signed } from './exact.js';
import { Failure, words } from './failure.js';
import { namesIn } from './organizations.js';
import { call } from './rpc.js';
import { facts, table } from './table.js';
import { time } from './times.js';
import { isGivenUp, loaded, paged } from './view.js';

/**
 * @typedef {object} Entry
 * @property {string} ledgerEntryId
 * @property {string} [kind]
 * @property {string} [credits]
 * @property {string} [availableCredits]
 * @property {string} [requestId]
 * @property {string} [userId]
 * @property {string} [apiKeyId]
 * @property {string} [model]
 * @property {Tokens} [usage]
 * @property {string} [createdAt]
 * @property {string} [note]
 * @property {string} [foldedEntries]
 */

/** @typedef {{inputTokens?: number, outputTokens?: number, estimated?: boolean}} Tokens */

const PAGE_SIZE = 25;

/** @type {Record<string, string>} */
const KINDS = {
  LEDGER_ENTRY_KIND_GRANT: 'Grant',
  LEDGER_ENTRY_KIND_SETTLE: 'Charge',
  LEDGER_ENTRY_KIND_REFUND: 'Refund',
  LEDGER_ENTRY_KIND_EXPIRE: 'Expiry',
  LEDGER_ENTRY_KIND_SETTLE_LATE: 'Late charge',
  LEDGER_ENTRY_KIND_CHECKPOINT: 'Older entries',
};

/** @type {Record<string, string>} */
const STATES = {
  REQUEST_STATE_HELD: 'in progress',
  REQUEST_STATE_SETTLED: 'charged',
  REQUEST_STATE_REFUNDED: 'came to nothing, and cost nothing',
  REQUEST_STATE_EXPIRED: 'expired: the service that worked on it went silent',
  REQUEST_STATE_SETTLED_LATE: 'charged after it had expired',
};

/** @type {Record<string, string>} */
const OUTCOMES = {
  OUTCOME_COMPLETED: 'the model finished',
  OUTCOME_CANCELLED: 'the caller went away',
  OUTCOME_UPSTREAM_FAILED: 'the model server failed',
  OUTCOME_NOTHING_GENERATED: 'nothing was generated',
};

/** @type {import('./view.js').View} */
export const ledgerView = {
  path: 'ledger',
  title: 'Ledger',
  ofAccount: true,
  show(section, signal) {
    /** Who is in the organization; undefined: it is the user's own account. @type {Map<string, string> | undefined} */
    let names;
    const entries = paged({
      id: 'ledger',
      read: async (pageToken) => {
        if (chosenAccount() && !names) ({ names } = await namesIn(chosenAccount(), signal));
        const answer = await call('Accounts/ListLedgerEntries', { pageSize: PAGE_SIZE, pageToken }, signal);
        return { items: /** @type {Entry[]} */ (answer.entries ?? []), next: answer.nextPageToken ?? '' };
      },
      list: () => {
        const { element, add } = table('Newest first', [
          { title: 'When' },
          { title: 'What', isHead: true },
          ...(names ? [{ title: 'By' }] : []),
          { title: 'Credits', isNumber: true },
          { title: 'Left after', isNumber: true },
          { title: 'Tokens' },
          { title: 'Receipt' },
        ]);
        return { element, add: (entry) => add(cells(entry, signal, names)) };
      },
      none: 'Nothing has changed the credits yet.',
      more: 'Show older entries',
    });
    section.append(h('p', { class: 'lead' }, 'Every grant and every charge. Entries are never altered.'), entries.element);
    entries.load();
  },
};

/**
 * @param {Entry} entry
 * @param {AbortSignal} signal
 * @param {Map<string, string> | undefined} names
 */
function cells(entry, signal, names) {
  const kind = KINDS[entry.kind ?? ''] ?? entry.kind ?? '';
  const folded = entry.foldedEntries && `: ${counted(entry.foldedEntries, 'entry', 'entries')} that were exported`;
  const of = entry.model || entry.note;
  const id = `ledger-${entry.ledgerEntryId}-receipt`;
  const isOfRequest = entry.requestId && entry.kind !== 'LEDGER_ENTRY_KIND_GRANT';
  const receipt =
    isOfRequest &&
    button('Receipt', () => showReceipt(entry, signal), { id, class: 'small' }, unseen(` of entry ${entry.ledgerEntryId}`));
  return [
    time(entry.createdAt),
    [kind, folded, of && ': ', of && theirs(of)],
    ...(names ? [by(entry, names)] : []),
    signed(entry.credits),
    grouped(entry.availableCredits),
    entry.usage && tokens(entry.usage),
    receipt,
  ];
}

/**
 * @param {Entry} entry
 * @param {Map<string, string>} names
 */
function by({ userId, kind }, names) {
  const name = names.get(userId ?? '');
  if (name) return theirs(name);
  return kind === 'LEDGER_ENTRY_KIND_GRANT' ? 'an operator' : userId ? h('code', {}, userId) : '–';
}

/** @param {Tokens} usage */
export function tokens({ inputTokens = 0, outputTokens = 0, estimated }) {
  return `${estimated ? 'about ' : ''}${grouped(inputTokens)} in, ${grouped(outputTokens)} out`;
}

/**
 * @param {Entry} entry
 * @param {AbortSignal} signal
 */
function showReceipt(entry, signal) {
  const outcome = loaded('receipt-outcome', async () => {
    try {
      const { receipt } = await call('Accounts/GetReceipt', { requestId: entry.requestId }, signal);
      return [outcomeOf(receipt)];
    } catch (failure) {
      if (isGivenUp(failure) || !(failure instanceof Failure) || failure.reason !== 'REQUEST_NOT_FOUND') throw failure;
      return [h('p', { class: 'hint' }, words(failure))];
    }
  });
  const close = button('Close', () => dialog.close(), { id: 'receipt-close', class: 'main' });
  const dialog = openDialog({
    id: 'receipt',
    title: 'Receipt',
    content: [
      facts([
        ['Request', h('code', {}, entry.requestId)],
        ['Ledger entry', entry.ledgerEntryId],
        ['Model', theirs(entry.model)],
        ['When', time(entry.createdAt)],
        ['Credits', signed(entry.credits)],
        ['Left after', grouped(entry.availableCredits)],
        ['Tokens', entry.usage ? tokens(entry.usage) : '–'],
        ['User', h('code', {}, entry.userId)],
        ['With the key', entry.apiKeyId ? h('code', {}, entry.apiKeyId) : 'none: an access token'],
      ]),
      outcome.element,
      h('div', { class: 'buttons' }, close),
    ],
  });
  outcome.load();
}

/** @param {any} receipt */
function outcomeOf(receipt) {
  return facts([
    ['State', STATES[receipt.state] ?? '–'],
    ['How it ended', OUTCOMES[receipt.outcome] ?? '–'],
    ['Held at first', grouped(receipt.heldCredits)],
    ['Charged in all', grouped(receipt.chargedCredits)],
    ...(receipt.uncollectedCredits && receipt.uncollectedCredits !== '0'
      ? [/** @type {[string, string]} */ (['Could not be collected', grouped(receipt.uncollectedCredits)])]
      : []),
  ]);
}
