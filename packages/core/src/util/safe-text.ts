/**
 * Makes text from outside fit for an error, a log line or a gRPC answer (design D17): one line of well-formed, printable characters.
 * Lone surrogates become U+FFFD. Each run of white space, control, format and unassigned characters becomes one space, and there is none
 * at either end. The function does not know what a credential is: remove those first.
 *
 * @param text - as it came; of any length. No more than the first 16 × `maxChars` code units are looked at
 * @param maxChars - the longest result, in UTF-16 code units, at least 1. Default 300. A longer text is cut between two characters and ends with `…`
 */
export function safeText(text: string, maxChars = 300): string {
  const begin = beginning(text, maxChars);
  const line = CHANGES.test(begin)
    ? begin
        .toWellFormed()
        .replace(/[\p{C}\s]+/gu, ' ')
        .trim()
    : begin;
  return cut(line, maxChars, begin.length < text.length);
}

/** As {@link safeText}, for a text of several lines, which stay lines. Empty ones go. */
export function safeLines(text: string, maxChars: number): string {
  const begin = beginning(text, maxChars);
  if (!begin.includes('\n')) return safeText(text, maxChars);
  const lines = begin.split('\n').map((line) => safeText(line, maxChars));
  return cut(lines.filter((line) => line !== '').join('\n'), maxChars, begin.length < text.length);
}

/** How much of a text is looked at, for each character of the result: what is left out of it may come first. */
const LOOKED_AT = 16;

/** What {@link safeText} may change. Most texts, such as the errors of calls, have nothing of it, and take no more time than this. */
const CHANGES = /[^\x20-\x7e]|^ | {2}| $/;

/** The part that a result of `maxChars` is made of. */
function beginning(text: string, maxChars: number): string {
  const looked = LOOKED_AT * maxChars;
  return text.length > looked ? withoutHalf(text.slice(0, looked)) : text;
}

/** @param more - whether something follows that was not looked at */
function cut(text: string, maxChars: number, more: boolean): string {
  if (text.length <= maxChars && !more) return text;
  return `${withoutHalf(text.slice(0, maxChars - 1))}…`;
}

/** A cut may separate the two halves of a character: the first half goes too. */
const withoutHalf = (text: string): string => text.replace(/[\uD800-\uDBFF]$/, '');
