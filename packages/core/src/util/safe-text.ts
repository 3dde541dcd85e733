/**
 * Makes text from outside fit for an error, a log line or a gRPC answer (design D17): one line of well-formed, printable characters.
 * Lone surrogates become U+FFFD. Each run of white space, control, format and unassigned characters becomes one space, and there is none
 * at either end. The function does not know what a credential is: remove those first.
 *
 * @param text - as it came; of any length
 * @param maxChars - the longest result, in UTF-16 code units, at least 1. Default 300. A longer text is cut between two characters and ends with `…`
 */
export function safeText(text: string, maxChars = 300): string {
  if (!CHANGES.test(text)) return cut(text, maxChars);
  const line = text
    .toWellFormed()
    .replace(/[\p{C}\s]+/gu, ' ')
    .trim();
  return cut(line, maxChars);
}

/** As {@link safeText}, for a text of several lines, which stay lines. Empty ones go. */
export function safeLines(text: string, maxChars: number): string {
  if (!text.includes('\n')) return safeText(text, maxChars);
  const lines = text.split('\n').map((line) => safeText(line, maxChars));
  return cut(lines.filter((line) => line !== '').join('\n'), maxChars);
}

/** What {@link safeText} may change. Most texts, such as the errors of calls, have nothing of it, and take no more time than this. */
const CHANGES = /[^\x20-\x7e]|^ | {2}| $/;

function cut(text: string, maxChars: number): string {
  if (text.length <= maxChars) return text;
  // The cut may separate the two halves of a character: the first half goes too.
  return `${text.slice(0, maxChars - 1).replace(/[\uD800-\uDBFF]$/, '')}…`;
}
