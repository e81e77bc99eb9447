// API keys: those there are, and what is done with them.

import { chosen, chosenAccount, isOwner } from './account.js';
import { say } from './announce.js';
import { formDialog, openDialog } from './dialog.js';
import { button, h, theirs, unseen } from './dom.js';
import { copyable } from './copy.js';
import { counted } from './exact.js';
import { keyLines } from './key-lines.js';
import { askForKey, askForRotation } from './key-forms.js';
import { exampleModel, listModels } from './models.js';
import { namesIn } from './organizations.js';
import { call } from './rpc.js';
import { facts, table } from './table.js';
import { isOver, time } from './times.js';
import { loaded, me } from './view.js';

/**
 * @typedef {object} ApiKey
 * @property {string} apiKeyId
 * @property {string} [name]
 * @property {string} hint Its first and last characters.
 * @property {string[]} [scopes]
 * @property {string[]} [models] Patterns; none: all models.
 * @property {string[]} [networks] None: from everywhere.
 * @property {string} [createdAt]
 * @property {string} [expiresAt]
 * @property {string} [revokedAt]
 * @property {string} [lastUsedAt]
 * @property {Secret[]} [secrets] The newest first.
 * @property {string} [userId] Who acts when it is used: a user, or a service account.
 */

/**
 * @typedef {object} Secret
 * @property {number} number Counts up from 1.
 * @property {string} hint
 * @property {string} [createdAt]
 * @property {string} [expiresAt]
 * @property {string} [revokedAt]
 * @property {string} [lastUsedAt]
 */

/** Models that can be named, as far as that is known. @type {import('./models.js').Model[]} */
let known = [];
/** Whose keys these are, by their ids, where they are those of an organization. @type {Map<string, string>} */
let names = new Map();
/** The service accounts among them. @type {Set<string>} */
let services = new Set();

/** @type {import('./view.js').View} */
export const keysView = {
  path: 'keys',
  title: 'API keys',
  ofAccount: true,
  show(section, signal) {
    // Of what the lines beside a new key are made.
    listModels(signal).then(
      (models) => {
        known = models;
      },
      () => {},
    );
    const list = loaded('keys', async () => {
      const account = chosenAccount();
      const [{ apiKeys = [] }, known] = await Promise.all([
        call('Accounts/ListApiKeys', {}, signal),
        account ? namesIn(account, signal) : { names: new Map(), services: new Set() },
      ]);
      ({ names, services } = known);
      return shown(apiKeys.reverse(), list.load);
    });
    const make = button('Make a key', () => askForKey(showMade(list.load)), { id: 'ask-for-key', class: 'main' });
    section.append(
      h(
        'p',
        { class: 'lead' },
        "Programs call with a key, in place of your password. It spends the account's credits within the limits that you give it.",
      ),
      h('div', { class: 'buttons' }, make),
      list.element,
    );
    list.load();
  },
};

/** @param {{revokedAt?: string, expiresAt?: string}} it A key or a secret. */
function state({ revokedAt, expiresAt }) {
  if (revokedAt) return 'revoked';
  return isOver(expiresAt) ? 'expired' : 'in force';
}

/**
 * @param {ApiKey[]} keys
 * @param {() => Promise<void>} reload
 */
function shown(keys, reload) {
  const inForce = keys.filter((key) => state(key) === 'in force');
  const old = keys.filter((key) => state(key) !== 'in force');
  /** @type {Node[]} */
  const content = inForce.length
    ? [h('ul', { class: 'cards', 'aria-label': 'Keys in force' }, ...inForce.map((key) => card(key, reload)))]
    : [h('p', { class: 'hint' }, 'There is no key in force.')];
  if (old.length) {
    content.push(
      h(
        'details',
        { id: 'old-keys' },
        h('summary', {}, `${counted(old.length, 'key')} revoked or expired`),
        h('ul', { class: 'cards', 'aria-label': 'Keys that are revoked or expired' }, ...old.map((key) => card(key, reload))),
      ),
    );
  }
  return content;
}

/** @param {ApiKey} key */
function nameOf(key) {
  return key.name || key.hint;
}

/**
 * @param {ApiKey} key
 * @param {() => Promise<void>} reload
 */
function card(key, reload) {
  const its = state(key);
  const secrets = key.secrets ?? [];
  const listed = (/** @type {string[] | undefined} */ values, /** @type {string} */ none) =>
    values?.length ? h('code', {}, values.join(', ')) : none;
  const element = h(
    'li',
    { id: `key-${key.apiKeyId}`, class: 'card' },
    h(
      'h2',
      { id: `key-${key.apiKeyId}-name`, tabindex: '-1' },
      theirs(nameOf(key)),
      ' ',
      h('span', { class: `badge ${its.replace(' ', '-')}` }, its),
    ),
    facts([
      ['Begins and ends with', h('code', {}, key.hint)],
      ...(chosenAccount() ? [/** @type {[string, Node]} */ (['Belongs to', theirs(names.get(key.userId ?? '') ?? key.userId)])] : []),
      ['May', listed(key.scopes, '–')],
      ['Models', listed(key.models, 'all')],
      ['From', listed(key.networks, 'everywhere')],
      ['Made', time(key.createdAt)],
      ['Last used', time(key.lastUsedAt, 'not yet')],
      key.revokedAt ? ['Revoked', time(key.revokedAt)] : ['Ends', time(key.expiresAt, 'when it is revoked')],
    ]),
  );
  if (secrets.length > 1) element.append(secretsOf(key, secrets, reload));
  if (its === 'in force') {
    // Owners rotate keys of service accounts and their own; those of others they revoke.
    const mayRotate = !chosenAccount() || key.userId === me().userId || (isOwner(chosen()?.me) && services.has(key.userId ?? ''));
    element.append(
      h(
        'div',
        { class: 'buttons' },
        mayRotate &&
          button('Rotate', () => askForRotation(key, showMade(reload)), { id: `key-${key.apiKeyId}-rotate` }, unseen(` ${nameOf(key)}`)),
        button(
          'Revoke',
          () => askToRevoke(key, undefined, reload),
          { id: `key-${key.apiKeyId}-revoke`, class: 'danger' },
          unseen(` ${nameOf(key)}`),
        ),
      ),
    );
  }
  return element;
}

/**
 * @param {ApiKey} key
 * @param {Secret[]} secrets
 * @param {() => Promise<void>} reload
 */
function secretsOf(key, secrets, reload) {
  const { element, add } = table(`Secrets of ${nameOf(key)}`, [
    { title: 'Secret', isHead: true },
    { title: 'State' },
    { title: 'Made' },
    { title: 'Last used' },
    { title: 'Ends' },
    { title: 'Action' },
  ]);
  for (const secret of secrets) {
    const its = state(secret);
    const id = `key-${key.apiKeyId}-secret-${secret.number}-revoke`;
    const revoke =
      its === 'in force' &&
      state(key) === 'in force' &&
      button(
        'Revoke',
        () => askToRevoke(key, secret, reload),
        { id, class: 'danger small' },
        unseen(` secret ${secret.number} of ${nameOf(key)}`),
      );
    const ends = secret.revokedAt ? time(secret.revokedAt) : time(secret.expiresAt, 'with the key');
    add([
      [`${secret.number} `, h('code', {}, secret.hint)],
      its,
      time(secret.createdAt),
      time(secret.lastUsedAt, 'not yet'),
      ends,
      revoke,
    ]);
  }
  return element;
}

/**
 * @param {ApiKey} key
 * @param {Secret | undefined} secret Undefined: the key, and all of its secrets.
 * @param {() => Promise<void>} reload
 */
function askToRevoke(key, secret, reload) {
  const what = secret ? `secret ${secret.number} of ` : '';
  const isLast = secret && key.secrets?.filter((each) => state(each) === 'in force').length === 1;
  formDialog({
    id: 'revoke-key',
    title: secret ? 'Revoke the secret?' : 'Revoke the key?',
    intro: [
      `The next call with ${what}`,
      theirs(nameOf(key)),
      " is refused, and answers that run with it are cut off. That can't be undone.",
      isLast ? ' It is the last secret in force, so the key is revoked too.' : '',
    ],
    submit: secret ? 'Revoke the secret' : 'Revoke the key',
    danger: true,
    send: async () => {
      await call('Accounts/RevokeApiKey', { apiKeyId: key.apiKeyId, secretNumber: secret?.number });
      await reload();
      say(`Revoked: ${what}${nameOf(key)}.`);
    },
  });
}

/**
 * What becomes of a new secret: it is shown, once.
 * @param {() => Promise<void>} reload
 */
export function showMade(reload) {
  return async (/** @type {{key: string, apiKey: ApiKey}} */ answer) => {
    showSecret(answer.key, answer.apiKey);
    await reload();
  };
}

/**
 * @param {string} secret
 * @param {ApiKey} apiKey
 */
function showSecret(secret, apiKey) {
  const model = exampleModel(apiKey.models ?? [], known);
  const lines = keyLines(secret, model).map(({ name, text }, index) =>
    h(
      'details',
      { name: 'lines', open: index === 0 },
      h('summary', {}, name),
      copyable({ id: `lines-${index}`, text, what: `lines for ${name}` }),
    ),
  );
  const done = button('I have kept it', () => dialog.close(), { id: 'new-key-done', class: 'main' });
  const dialog = openDialog({
    id: 'new-key',
    title: 'Your new key',
    keep: true,
    content: [
      h('p', {}, 'This is ', theirs(nameOf(apiKey)), '. It is shown this once: copy it now, to where only you can read it.'),
      copyable({ id: 'new-key-secret', text: secret, what: 'the key' }),
      h('h3', {}, 'Lines that work with it'),
      ...lines,
      h('div', { class: 'buttons' }, done),
    ],
  });
}
