// A call to a model, from this page: what a program would send, and what it costs.

import { chosenAccount } from './account.js';
import { button, h } from './dom.js';
import { credits, grouped, newRequestId } from './exact.js';
import { Failure, words } from './failure.js';
import { form } from './form.js';
import { inferenceUrl } from './key-lines.js';
import { tokens } from './ledger-view.js';
import { listModels, ofInference } from './models.js';
import { call, signedIn } from './rpc.js';
import { stream } from './stream.js';
import { isGivenUp, loaded } from './view.js';

/** @typedef {{model: string, messages: Array<{role: string, content: string}>, maxOutputTokens?: string, requestId: string}} Chat */

const CHAT = '/tollgate.inference.v1.Inference/Chat';

/** How often, and how long apart in ms, a receipt is asked for until the call that it is of was settled. */
const RECEIPT_TRIES = 20;
const RECEIPT_APART_MS = 250;

/** @type {import('./view.js').View} */
export const tryView = {
  path: 'try',
  title: 'Try a call',
  ofAccount: true,
  show(section, signal) {
    const view = loaded('try', async () => {
      const models = await listModels(signal);
      if (models.length === 0) return [h('p', { class: 'hint' }, 'There is no model here that you may name.')];
      return trial(
        models.map(({ name }) => name),
        signal,
      );
    });
    section.append(
      h('p', { class: 'lead' }, "One question to a model, paid for by the account's credits, as a program would ask it."),
      view.element,
    );
    view.load();
  },
};

/**
 * @param {string[]} models
 * @param {AbortSignal} left
 */
function trial(models, left) {
  const answer = h('div', { id: 'answer', class: 'answer' });
  const status = h('p', { id: 'try-status', class: 'hint', role: 'status' });
  let running = new AbortController();
  const stop = button('Stop', () => running.abort(), { id: 'try-stop', hidden: true });
  left.addEventListener('abort', () => running.abort());

  const question = form({
    id: 'try-form',
    fields: [
      { name: 'model', label: 'Model', type: 'select', options: models.map((name) => ({ value: name, label: name })) },
      { name: 'prompt', label: 'Prompt', type: 'textarea', required: true, hint: 'Ctrl+Enter sends it.' },
      { name: 'max_output_tokens', label: 'At most so many tokens', optional: true },
    ],
    submit: 'Send',
    beside: [stop],
    send: async ({ model, prompt, max_output_tokens }) => {
      running = new AbortController();
      /** @type {Chat} */
      const chat = { model, messages: [{ role: 'user', content: prompt }], requestId: newRequestId() };
      if (max_output_tokens) chat.maxOutputTokens = max_output_tokens;
      stop.hidden = false;
      answer.ariaBusy = 'true';
      try {
        await ask(chat, answer, status, running.signal);
      } finally {
        if (document.activeElement === stop) question.querySelector('button')?.focus();
        stop.hidden = true;
        answer.ariaBusy = 'false';
      }
    },
  });
  question.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) question.requestSubmit();
  });
  const region = h(
    'section',
    { class: 'sheet', 'aria-labelledby': 'answer-heading' },
    h('h2', { id: 'answer-heading' }, 'Answer'),
    answer,
    status,
  );
  return [question, region];
}

/**
 * Streams an answer, and says what it cost. Fails with what the form shows.
 * @param {Chat} chat
 * @param {HTMLElement} answer
 * @param {HTMLElement} status
 * @param {AbortSignal} signal
 */
async function ask(chat, answer, status, signal) {
  const show = shower(answer);
  status.textContent = 'Waiting for the model …';
  try {
    await signedIn(async (token) => {
      for await (const event of stream(inferenceUrl() + CHAT, chat, { token, account: chosenAccount(), signal })) {
        if (event.started) status.textContent = `The model is answering. Held: ${credits(event.started.heldCredits)}.`;
        if (event.delta) show(event.delta);
        if (event.finished) status.textContent = await finished(event.finished, chat.requestId);
      }
    });
  } catch (failure) {
    if (!signal.aborted && !isGivenUp(failure)) {
      status.textContent = failure instanceof Failure && failure.receipt ? `${ended(failure.receipt)}` : '';
      if (failure instanceof Failure && failure.reason === 'BROKEN_OFF') status.textContent = await settled(chat.requestId, '');
      throw ofInference(failure);
    }
    status.textContent = await settled(chat.requestId, 'Stopped. ');
  }
}

/**
 * Text goes into one node, so that a long answer stays quick.
 * @param {HTMLElement} answer
 */
function shower(answer) {
  const thinking = document.createTextNode('');
  const text = document.createTextNode('');
  const thought = h('div', { class: 'thinking', hidden: true }, thinking);
  answer.replaceChildren(thought, h('div', {}, text));
  return (/** @type {{content?: string, thinking?: string}} */ delta) => {
    if (delta.thinking) {
      thought.hidden = false;
      thinking.appendData(delta.thinking);
    }
    if (delta.content) text.appendData(delta.content);
  };
}

/** @param {import('./failure.js').Receipt} receipt */
function ended({ chargedCredits, remainingCredits }) {
  return `Charged: ${credits(chargedCredits)}. Left: ${grouped(remainingCredits)}.`;
}

/**
 * @param {any} event
 * @param {string} requestId
 */
async function finished({ reason, usage, receipt }, requestId) {
  const used = usage ? ` ${tokens(usage)}.` : '';
  const cut = reason === 'FINISH_REASON_LENGTH' ? ' It was cut off at its bound of tokens.' : '';
  return receipt ? `Finished. ${ended(receipt)} Tokens:${used}${cut}` : settled(requestId, `Finished.${cut} `);
}

/**
 * What a call cost whose stream didn't say it.
 * @param {string} requestId
 * @param {string} before What is said before it.
 */
async function settled(requestId, before) {
  try {
    for (let tries = 0; tries < RECEIPT_TRIES; tries++) {
      const { receipt } = await call('Accounts/GetReceipt', { requestId });
      if (receipt.state !== 'REQUEST_STATE_HELD') return before + ended(receipt);
      await new Promise((resolve) => setTimeout(resolve, RECEIPT_APART_MS));
    }
    return `${before}What it cost will be in the ledger.`;
  } catch (failure) {
    return before + (failure instanceof Failure && failure.reason === 'REQUEST_NOT_FOUND' ? 'It cost nothing.' : words(failure));
  }
}
