// Signing in with an issuer, such as Google: the browser goes there, and comes back to a door of auth-service.

import { keepWantedElsewhere } from './address.js';
import { button, h } from './dom.js';
import { Failure, words } from './failure.js';
import { signedIn } from './rpc.js';
import { settings } from './settings.js';
import { send } from './transport.js';

/** How issuers write themselves. @type {Record<string, string>} */
const WRITTEN = { google: 'Google', github: 'GitHub', gitlab: 'GitLab', microsoft: 'Microsoft' };

/**
 * An issuer's name for people.
 * @param {string} name As it is configured.
 */
export function issuerInWords(name) {
  return WRITTEN[name] ?? name;
}

/**
 * The same where its identifier is known.
 * @param {string | undefined} issuer
 */
export function issuerOf(issuer) {
  const known = settings().issuers?.find((each) => each.issuer === issuer);
  return known ? issuerInWords(known.name) : (issuer ?? '');
}

/** Buttons that sign in with each issuer; none where there is none. */
export function issuerButtons() {
  const issuers = settings().issuers ?? [];
  if (issuers.length === 0) return [];
  const failed = h('p', { id: 'issuer-failure', class: 'failure', role: 'alert', tabindex: '-1' });
  const buttons = issuers.map(({ name }) =>
    leaving(`Sign in with ${issuerInWords(name)}`, `sign-in-${name}`, failed, () => send('/account/session/issuer', { issuer: name })),
  );
  return [h('div', { class: 'issuers' }, ...buttons, failed)];
}

/**
 * A button that has an issuer's identity sign the user in from then on.
 * @param {string} name The issuer's.
 * @param {HTMLElement} failed Says what went wrong.
 */
export function linkButton(name, failed) {
  return leaving(`Link ${issuerInWords(name)}`, `link-${name}`, failed, () =>
    signedIn((token) => send('/account/session/issuer', { issuer: name, link: true }, { token })),
  );
}

/**
 * @param {string} label
 * @param {string} id
 * @param {HTMLElement} failed
 * @param {() => Promise<{authorization_url: string}>} begin
 */
function leaving(label, id, failed, begin) {
  const go = button(
    label,
    async () => {
      if (go.ariaDisabled === 'true') return;
      go.ariaDisabled = 'true';
      go.classList.add('busy');
      failed.textContent = '';
      try {
        const { authorization_url: url } = await begin();
        if (!/^https?:\/\//.test(url)) throw new Failure('NOT_UNDERSTOOD', '');
        keepWantedElsewhere();
        location.assign(url);
      } catch (failure) {
        failed.textContent = words(failure);
        go.ariaDisabled = 'false';
        go.classList.remove('busy');
      }
    },
    { id },
  );
  // A page that is shown again because somebody came back by "back" can be used again.
  addEventListener('pageshow', () => {
    go.ariaDisabled = 'false';
    go.classList.remove('busy');
  });
  return go;
}
