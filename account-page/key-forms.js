// The forms that make a key, and another secret of one.

import { formDialog } from './dialog.js';
import { theirs } from './dom.js';
import { Failure } from './failure.js';
import { once } from './rpc.js';
import { duration } from './times.js';
import { me } from './view.js';

/** @typedef {import('./keys-view.js').ApiKey} ApiKey */
/** @typedef {(answer: {key: string, apiKey: ApiKey}) => Promise<void>} Made */

const DAY_SECONDS = 86_400;

const SCOPES = [
  { value: 'inference', label: 'Ask models', hint: 'stands for the four below it' },
  { value: 'chat', label: 'Chat' },
  { value: 'generate', label: 'Generate' },
  { value: 'embed', label: 'Embed' },
  { value: 'list_models', label: 'List and show models' },
  { value: 'account', label: 'Read the account', hint: 'balance, receipts, usage and ledger' },
];

const OF_OPERATORS = { value: 'models', label: 'Manage models', hint: 'make and remove them' };

const LIFETIMES = [
  { value: '', label: 'As long as this server lets it' },
  { value: '1', label: '1 day' },
  { value: '7', label: '7 days' },
  { value: '30', label: '30 days' },
  { value: '90', label: '90 days' },
  { value: '365', label: '365 days' },
];

const GRACES = [
  { value: '0', label: 'They stop at once' },
  { value: '3600', label: '1 hour' },
  { value: String(DAY_SECONDS), label: '24 hours' },
  { value: String(7 * DAY_SECONDS), label: '7 days' },
  { value: String(30 * DAY_SECONDS), label: '30 days' },
];

/** @param {string} text What is separated by spaces, commas or lines. */
function parts(text) {
  return text.split(/[\s,]+/).filter(Boolean);
}

/**
 * @param {Made} made
 * @param {{accountId: string, serviceAccountId: string, name: string}} [service] Whose key it is; undefined: the user's.
 */
export function askForKey(made, service) {
  const create = once('Accounts/CreateApiKey', service?.accountId);
  formDialog({
    id: 'make-key',
    title: 'Make a key',
    intro: service && ['It is a key of ', theirs(service.name), ', and stays when you leave.'],
    fields: [
      { name: 'name', label: 'Name', hint: 'For you to tell it from others, such as the machine that it is for.', optional: true },
      {
        name: 'scopes',
        label: 'What it may do',
        type: 'checkboxes',
        value: 'inference account',
        options: me().isOperator && !service ? [...SCOPES, OF_OPERATORS] : SCOPES,
      },
      {
        name: 'models',
        label: 'Models',
        type: 'textarea',
        hint: 'One on each line, such as llama3* or hf.co/*. None: all models.',
        optional: true,
      },
      {
        name: 'networks',
        label: 'Networks',
        type: 'textarea',
        hint: 'Where it may be used from: one on each line, such as 10.0.0.0/8. None: everywhere.',
        optional: true,
      },
      { name: 'lifetime', label: 'Good for', type: 'select', options: LIFETIMES },
    ],
    submit: 'Make the key',
    send: async ({ name, scopes, models, networks, lifetime }) => {
      // None would mean some to the server, and not to whoever took the ticks away.
      if (!scopes) throw new Failure('INVALID_ARGUMENT', '', { violations: new Map([['scopes', 'must be one at least']]) });
      const limits = { scopes: parts(scopes), models: parts(models), networks: parts(networks) };
      const message = { name, ...limits, serviceAccountId: service?.serviceAccountId };
      return create(lifetime ? { ...message, lifetime: duration(Number(lifetime) * DAY_SECONDS) } : message);
    },
    done: made,
  });
}

/**
 * @param {ApiKey} key
 * @param {Made} made
 */
export function askForRotation(key, made) {
  const rotate = once('Accounts/RotateApiKey');
  formDialog({
    id: 'rotate-key',
    title: 'Rotate the key',
    intro: [theirs(key.name || key.hint), ' gets another secret. It keeps its limits, and what it spends is counted together.'],
    fields: [
      {
        name: 'grace_period',
        label: 'How long its secrets before stay good',
        type: 'select',
        value: String(DAY_SECONDS),
        options: GRACES,
      },
    ],
    submit: 'Rotate',
    send: ({ grace_period }) => rotate({ apiKeyId: key.apiKeyId, gracePeriod: duration(Number(grace_period)) }),
    done: made,
  });
}
