// The account page: which view is there, and for whom.

import { beginAccounts, choose, chosen, chosenAccount, organizations } from './account.js';
import { fromDevice, keepWanted, path, replaceAddress, takeWanted } from './address.js';
import { hush, say } from './announce.js';
import { auditView } from './audit-view.js';
import { button, focusOn, h, keepingFocus, part, theirs } from './dom.js';
import { isSecretShown, pauseDialogs, resumeDialogs } from './dialog.js';
import { deviceView } from './device-view.js';
import { words } from './failure.js';
import { showGuest } from './guest-view.js';
import { invitationView } from './invitation-view.js';
import { keysView } from './keys-view.js';
import { ledgerView } from './ledger-view.js';
import { organizationView } from './organization-view.js';
import { organizationsView } from './organizations-view.js';
import { onOrganizations, readOrganizations } from './organizations.js';
import { overviewView } from './overview-view.js';
import { onLostAccount, onStepUp } from './rpc.js';
import { securityView } from './security-view.js';
import { onChange, resume, session, signOut } from './session.js';
import { readSettings, settings } from './settings.js';
import { askToStepUp } from './step-up.js';
import { tryView } from './try-view.js';
import { usageView } from './usage-view.js';
import { usersView } from './users-view.js';
import { isGivenUp, trouble } from './view.js';

/** @typedef {import('./view.js').View} View */

/** In the order of the navigation; the first one is what `/` shows. @type {View[]} */
const VIEWS = [
  overviewView,
  keysView,
  tryView,
  usageView,
  ledgerView,
  organizationsView,
  organizationView,
  invitationView,
  securityView,
  deviceView,
  usersView,
  auditView,
];

/** The addresses of those who aren't signed in; whoever signs in doesn't find these forms by going back. */
const OF_GUESTS = ['', 'sign-in', 'sign-up', 'complete-reset'];

const guest = part('guest');
const stage = part('stage');
const navigation = part('navigation');
const menu = part('menu');
const who = part('who');

/** Says to the view that is there that it was left. */
let left = new AbortController();
/**
 * Whose view waits, with what they typed, until they sign in again; and where their focus was.
 * @type {{userId: string, focus: Element | null} | undefined}
 */
let waiting;

/** The address of the view that is there. */
let shownHash = '#/';

function view() {
  const wanted = path();
  return VIEWS.filter(isForMe).find((each) => each.path === wanted) ?? VIEWS[0];
}

/** @param {View} view */
function isForMe(view) {
  return !view.forOperators || Boolean(session()?.isOperator);
}

/** Shows the view that the address names, from its beginning. */
function showView() {
  const shown = view();
  hush();
  left.abort();
  left = new AbortController();
  waiting = undefined;
  guest.hidden = true;
  guest.replaceChildren();
  stage.hidden = false;
  const heading = h('h1', { id: 'heading', tabindex: '-1' }, shown.title);
  const section = h('section', { id: `view-${shown.path || 'overview'}`, 'aria-labelledby': heading.id }, heading);
  stage.replaceChildren(section);
  if (shown.ofAccount && chosenAccount()) section.append(whoseAccount());
  showNavigation(shown);
  document.title = `${shown.title} – Tollgate`;
  shown.show(section, left.signal);
  shownHash = location.hash || '#/';
}

/** Says that what is seen isn't the user's own. */
function whoseAccount() {
  return h('p', { id: 'of-account', class: 'notice' }, 'Of the organization ', theirs(chosen()?.name ?? chosenAccount()), '.');
}

/** Lets somebody who is in an organization say which account the views are about; undefined: there is nothing to choose. */
function accountChoice() {
  if (organizations().length === 0) return undefined;
  const select = h(
    'select',
    {
      id: 'account',
      change: () => {
        choose(select.value);
        const name = chosen()?.name;
        showView();
        // On a narrow screen the navigation has closed.
        focusOn(part(part('account').checkVisibility() ? 'account' : 'heading'));
        say(name ? `This is the account of ${name} now.` : 'This is your own account now.');
      },
    },
    h('option', { value: '' }, 'your own'),
    ...organizations().map(({ accountId, name }) => h('option', { value: accountId, selected: accountId === chosenAccount() }, name)),
  );
  return h('div', { class: 'field' }, h('label', { for: select.id }, 'Account'), select);
}

/** @param {View} shown */
function showLinks(shown) {
  const link = (/** @type {View} */ view) =>
    h('li', {}, h('a', { href: `#/${view.path}`, 'aria-current': view.path === (shown.within ?? shown.path) && 'page' }, view.title));
  const mine = VIEWS.filter((view) => !view.forOperators && view.within === undefined);
  const operators = VIEWS.filter((view) => view.forOperators && isForMe(view));
  navigation.replaceChildren(...[accountChoice()].filter((each) => each !== undefined), h('ul', {}, ...mine.map(link)));
  if (operators.length) {
    navigation.append(
      h('p', { id: 'for-operators' }, 'Operators'),
      h('ul', { 'aria-labelledby': 'for-operators' }, ...operators.map(link)),
    );
  }
}

/** @param {View} shown */
function showNavigation(shown) {
  showLinks(shown);
  navigation.hidden = false;
  menu.hidden = false;
  setMenu(false);
  const out = button(
    'Sign out',
    async () => {
      try {
        await signOut();
      } catch (failure) {
        say(`You are still signed in. ${words(failure)}`);
      }
    },
    { id: 'sign-out', class: 'quiet' },
  );
  who.replaceChildren(theirs(session()?.userName), out);
  who.hidden = false;
}

/**
 * Shows how to sign in.
 * @param {string} [said] Why that is there.
 * @param {string} [userName]
 */
function showSignIn(said = '', userName = '') {
  hush();
  keepWanted();
  navigation.hidden = menu.hidden = who.hidden = true;
  who.replaceChildren();
  stage.hidden = true;
  guest.hidden = false;
  document.title = `${showGuest(guest, path(), { said, userName })} – Tollgate`;
}

/** @param {boolean} isOpen On a narrow screen. */
function setMenu(isOpen) {
  menu.ariaExpanded = String(isOpen);
  navigation.classList.toggle('open', isOpen);
}

function drop() {
  left.abort();
  waiting = undefined;
  stage.replaceChildren();
}

onChange((change) => {
  if (change.kind === 'ended') {
    const focus = document.activeElement;
    const userName = who.querySelector('bdi')?.textContent ?? '';
    pauseDialogs();
    for (const field of stage.querySelectorAll('input[autocomplete$=password]')) /** @type {HTMLInputElement} */ (field).value = '';
    waiting = { userId: change.userId, focus };
    showSignIn(change.words, userName);
  } else if (change.kind === 'signed-out') {
    drop();
    showSignIn(change.words);
  } else if (waiting?.userId === change.session.userId && !stage.querySelector('.of-session')) {
    goOn(waiting.focus);
  } else {
    drop();
    start(change.session.userId);
  }
});

/**
 * Brings the view back as it was left.
 * @param {Element | null} focus
 */
function goOn(focus) {
  waiting = undefined;
  guest.hidden = true;
  guest.replaceChildren();
  stage.hidden = false;
  showNavigation(view());
  document.title = `${view().title} – Tollgate`;
  resumeDialogs();
  focusOn(focus?.isConnected ? focus : part('heading'));
  say('You are signed in again. What you typed is still there.');
}

/** @param {string} userId Who has signed in. */
async function start(userId) {
  beginAccounts(userId);
  const organizations = readOrganizations().catch(() => {});
  // Whoever looks at their own account isn't kept waiting for what others there are.
  if (chosenAccount()) await organizations;
  if (session()?.userId !== userId) return;
  leaveGuestPath();
  showView();
  focusOn(part('heading'));
}

/** Shows what whoever signed in came for. */
function leaveGuestPath() {
  const wanted = takeWanted();
  if (OF_GUESTS.includes(path())) replaceAddress(wanted || '#/');
}

// What can be chosen has changed, or what it is called.
onOrganizations((news) => {
  if (!session() || stage.hidden || !stage.hasChildNodes()) return;
  if (news === 'lost') {
    showView();
    say('You are no member of that organization any more. This is your own account now.');
    return;
  }
  keepingFocus(navigation, () => showLinks(view()));
  document.getElementById('of-account')?.replaceWith(whoseAccount());
});

onStepUp(askToStepUp);
onLostAccount(() => {
  readOrganizations().catch(() => {});
});

/** Shows what the address names. */
function go() {
  if (session()) {
    showView();
    focusOn(part('heading'));
    scrollTo(0, 0);
  } else {
    drop();
    showSignIn();
  }
}

addEventListener('hashchange', () => {
  // Going back must not lose what is shown once.
  if (isSecretShown()) history.pushState(null, '', shownHash);
  else go();
});

addEventListener('beforeunload', (event) => {
  if (isSecretShown()) event.preventDefault();
});

// The link of the view that is there reads it anew.
document.addEventListener('click', (event) => {
  const link = event.target instanceof Element && event.target.closest('a');
  if (link && link.hash.startsWith('#/') && link.hash === (location.hash || '#/')) {
    event.preventDefault();
    go();
  }
});

// What nobody expected is said all the same.
addEventListener('unhandledrejection', (event) => {
  if (!isGivenUp(event.reason)) say(words(event.reason));
});

// A page that comes back from the browser's cache has missed what other tabs said.
addEventListener('pageshow', (event) => {
  if (event.persisted) location.reload();
});

// The address says which view is there, so this link must not change it.
part('skip').addEventListener('click', (event) => {
  event.preventDefault();
  part('main').focus();
});

menu.addEventListener('click', () => setMenu(menu.ariaExpanded !== 'true'));

async function begin() {
  fromDevice();
  try {
    await readSettings();
    part('version').textContent = `Tollgate ${settings().version}`;
    if (!(await resume())) showSignIn();
  } catch (failure) {
    guest.hidden = true;
    stage.hidden = false;
    stage.replaceChildren(h('section', { id: 'view-trouble' }, h('h1', {}, 'Tollgate'), trouble(failure, begin)));
  }
}

begin();
