import { safeText } from './safe-text.ts';

/** Longest text that is shown, in characters. */
const MAX_CHARS = 80;

/**
 * A key URI as an error may show it, in quotes: people put PINs and passwords into queries, and before an `@`. A text that is no URI may be a
 * secret as a whole.
 */
export function shownUri(text: string): string {
  if (!/^[A-Za-z][A-Za-z0-9+.-]*:/.test(text)) return `a text of ${text.length} characters`;
  const [path = ''] = text.split('?');
  const shown = path.replace(/\/\/[^/@]*@/, '//...@').replace(/pin-value=[^;]*/gi, 'pin-value=...');
  return JSON.stringify(safeText(path === text ? shown : `${shown}?...`, MAX_CHARS));
}
