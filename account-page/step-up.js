// Proving the second factor anew, when what somebody does asks for it.

import { formDialog } from './dialog.js';
import { call } from './rpc.js';

/** @returns {import('./form.js').Field} */
export function codeField() {
  return {
    name: 'second_factor_code',
    label: 'Code',
    autocomplete: 'one-time-code',
    required: true,
    hint: 'Six digits of your authenticator app, or a recovery code.',
  };
}

/**
 * Asks for a code.
 * @returns {Promise<boolean>} Whether it was proved; else whoever was asked has cancelled.
 */
export function askToStepUp() {
  return new Promise((resolve) => {
    let isProved = false;
    formDialog({
      id: 'step-up',
      title: 'Prove that it is you',
      intro: ['This needs your second factor. It is asked for again after 15 minutes.'],
      fields: [codeField()],
      submit: 'Go on',
      send: async ({ second_factor_code }) => {
        await call('Accounts/StepUp', { secondFactorCode: second_factor_code });
        isProved = true;
      },
      closed: () => resolve(isProved),
    });
  });
}
