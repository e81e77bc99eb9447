// The second factor: setting it up, its recovery codes, and taking it away.

import { say } from './announce.js';
import { copyable } from './copy.js';
import { formDialog, openDialog } from './dialog.js';
import { button, h, theirs } from './dom.js';
import { counted } from './exact.js';
import { Failure } from './failure.js';
import { form } from './form.js';
import { qrCode } from './qr.js';
import { call } from './rpc.js';
import { codeField } from './step-up.js';
import { facts } from './table.js';
import { time } from './times.js';
import { loaded, me } from './view.js';

/** @typedef {() => Promise<void>} Reload */

/** @param {AbortSignal} signal */
export function secondFactor(signal) {
  const part = loaded('second-factor', async () => {
    const its = await call('Accounts/GetSecondFactor', {}, signal);
    return its.enabled ? isOn(its, part.load) : isOff(part.load);
  });
  return part;
}

/** @param {Reload} reload */
function isOff(reload) {
  return [
    h('p', { class: 'lead' }, 'Signing in with your password asks for a code of an authenticator app as well, once you have set one up.'),
    h('div', { class: 'buttons' }, button('Set it up', () => askForPassword(reload), { id: 'set-up-second-factor' })),
  ];
}

/**
 * @param {{enabledAt?: string, recoveryCodesLeft?: number, provedAt?: string}} its
 * @param {Reload} reload
 */
function isOn({ enabledAt, recoveryCodesLeft = 0, provedAt }, reload) {
  return [
    facts([
      ['Since', time(enabledAt)],
      ['Recovery codes left', counted(recoveryCodesLeft, 'code')],
      ['Proved in this session', time(provedAt, 'not yet')],
    ]),
    h(
      'div',
      { class: 'buttons' },
      button('Make new recovery codes', () => askForRecoveryCodes(reload), { id: 'new-recovery-codes' }),
      button('Turn it off', () => askToRemove(reload), { id: 'remove-second-factor', class: 'danger' }),
    ),
  ];
}

/** @param {Reload} reload */
function askForPassword(reload) {
  formDialog({
    id: 'second-factor-password',
    title: 'Set up a second factor',
    fields: [
      { name: 'user_name', label: 'User name', autocomplete: 'username', value: me().userName, readonly: true },
      {
        name: 'password',
        label: 'Password',
        type: 'password',
        autocomplete: 'current-password',
        hint: 'Leave it empty if you have none, because you sign in with an issuer.',
      },
    ],
    submit: 'Go on',
    send: async ({ password }) => {
      try {
        return await call('Accounts/BeginTotp', { password });
      } catch (failure) {
        if (!(failure instanceof Failure) || failure.reason !== 'LOGIN_FAILED') throw failure;
        throw new Failure('INVALID_ARGUMENT', failure.message, { violations: new Map([['password', 'is not the one in force']]) });
      }
    },
    done: (answer) => showSecret(answer, reload),
  });
}

/**
 * @param {{totpSecret: string, otpauthUri: string}} answer
 * @param {Reload} reload
 */
function showSecret({ totpSecret, otpauthUri }, reload) {
  const picture = qrCode(otpauthUri, 'QR code of the secret, for an authenticator app. The text below it is the same.');
  const cancel = button('Cancel', () => dialog.close(), { id: 'confirm-second-factor-cancel' });
  const confirm = form({
    id: 'confirm-second-factor',
    fields: [
      {
        name: 'second_factor_code',
        label: 'Code of the app',
        autocomplete: 'one-time-code',
        required: true,
        hint: 'Six digits, which show that the app has the secret.',
      },
    ],
    submit: 'Turn it on',
    beside: [cancel],
    send: async ({ second_factor_code }) => {
      const { recoveryCodes = [] } = await call('Accounts/ConfirmTotp', { secondFactorCode: second_factor_code });
      dialog.close();
      showRecoveryCodes(recoveryCodes, 'The second factor is on');
      await reload();
    },
  });
  const dialog = openDialog({
    id: 'second-factor-secret',
    title: 'Give the secret to your app',
    content: [
      h('p', {}, 'Scan the picture with an authenticator app, or type the secret into it.'),
      picture ?? '',
      copyable({ id: 'totp-secret', text: totpSecret, what: 'the secret' }),
      h(
        'details',
        {},
        h('summary', {}, 'As an address'),
        h('p', {}, h('a', { id: 'otpauth-link', href: otpauthUri }, 'Open it in an app of this machine')),
        copyable({ id: 'otpauth-uri', text: otpauthUri, what: 'the address' }),
      ),
      confirm,
    ],
  });
}

/** @param {Reload} reload */
function askForRecoveryCodes(reload) {
  formDialog({
    id: 'make-recovery-codes',
    title: 'Make new recovery codes',
    intro: ['Those before are good for nothing then.'],
    fields: [codeField()],
    submit: 'Make new ones',
    send: ({ second_factor_code }) => call('Accounts/CreateRecoveryCodes', { secondFactorCode: second_factor_code }),
    done: async ({ recoveryCodes = [] }) => {
      showRecoveryCodes(recoveryCodes, 'New recovery codes');
      await reload();
    },
  });
}

/**
 * @param {string[]} codes
 * @param {string} title
 */
function showRecoveryCodes(codes, title) {
  const text = codes.join('\n');
  const file = URL.createObjectURL(new Blob([`${text}\n`], { type: 'text/plain' }));
  const done = button(
    'I have kept them',
    () => {
      URL.revokeObjectURL(file);
      dialog.close();
    },
    { id: 'recovery-codes-done', class: 'main' },
  );
  const dialog = openDialog({
    id: 'recovery-codes',
    title,
    keep: true,
    content: [
      h(
        'p',
        {},
        'Each of these recovery codes signs ',
        theirs(me().userName),
        ' in once in place of a code, when the app is lost. They are shown this once: keep them where only you can read them.',
      ),
      copyable({ id: 'recovery-codes-text', text, what: 'the recovery codes' }),
      h(
        'div',
        { class: 'buttons' },
        h('a', { id: 'recovery-codes-file', class: 'button', href: file, download: 'tollgate-recovery-codes.txt' }, 'Download them'),
        done,
      ),
    ],
  });
}

/** @param {Reload} reload */
function askToRemove(reload) {
  formDialog({
    id: 'turn-off-second-factor',
    title: 'Turn the second factor off?',
    intro: ['From then on your password alone signs you in. The recovery codes are good for nothing then.'],
    fields: [codeField()],
    submit: 'Turn it off',
    danger: true,
    send: async ({ second_factor_code }) => {
      await call('Accounts/RemoveTotp', { secondFactorCode: second_factor_code });
      await reload();
      say('The second factor is off.');
    },
  });
}
