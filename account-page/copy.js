// Text that is there to be copied.

import { say } from './announce.js';
import { button, h, unseen } from './dom.js';

/** How long the button says that it worked, in ms. */
const SAID_MS = 2500;

/**
 * Text, and a button that copies it.
 * @param {object} options
 * @param {string} options.id
 * @param {string} options.text
 * @param {string} options.what What it is, for whoever doesn't see what stands beside the button.
 */
export function copyable({ id, text, what }) {
  const shown = h('pre', { id, tabindex: '0', role: 'group', 'aria-label': what }, h('code', {}, text));
  const label = h('span', {}, 'Copy');
  const copy = button(
    '',
    async () => {
      const isCopied = await copied(text, shown);
      say(isCopied ? `Copied: ${what}.` : 'It could not be copied by itself. It is selected: press Ctrl+C.');
      if (!isCopied) return;
      label.textContent = 'Copied';
      setTimeout(() => {
        label.textContent = 'Copy';
      }, SAID_MS);
    },
    { id: `${id}-copy` },
    label,
    unseen(` ${what}`),
  );
  return h('div', { class: 'copyable' }, shown, copy);
}

/**
 * @param {string} text
 * @param {Element} shown
 */
async function copied(text, shown) {
  try {
    // A page that came without TLS has no clipboard, but for this machine's own pages.
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const selection = getSelection();
    selection?.selectAllChildren(shown);
    return document.execCommand('copy');
  }
}
