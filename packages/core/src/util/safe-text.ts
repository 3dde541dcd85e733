/**
 * Makes text from outside fit for an error, a log line or a gRPC answer (design D17): one line of well-formed, printable characters.
 * Lone surrogates become U+FFFD. Each run of white space, control, format and unassigned characters becomes one space, and there is none
 * at either end. The function does not know what a credential is: remove those first.
 *
 * @param text - as it came; of any length
 * @param maxChars - the longest result, in UTF-16 code units, at least 1. Default 300. A longer text is cut between two characters and ends with `…`
 */
export function safeText(text: string, maxChars = 300): string {
  const line = text
    .toWellFormed()
    .replace(/[\p{C}\s]+/gu, ' ')
    .trim();
  if (line.length <= maxChars) return line;
  // The cut may separate the two halves of a character: the first half goes too.
  return `${line.slice(0, maxChars - 1).replace(/[\uD800-\uDBFF]$/, '')}…`;
}
