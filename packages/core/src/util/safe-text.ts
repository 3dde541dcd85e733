/** Characters that would move a terminal's cursor or break a line of a log. */
 
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\ufeff]+/g;

/**
 * Makes text from outside fit for an error, a log or an answer (design D17): one line of well-formed, printable characters,
 * at most `maxLength` UTF-16 code units, never cut inside a character.
 */
export function safeText(text: string, maxLength = 300): string {
  const line = text.slice(0, maxLength).toWellFormed().replace(UNPRINTABLE, ' ').trim();
  // The cut may have split a surrogate pair.
  return text.length > maxLength ? `${line.replace(/\ufffd$/, '')}...` : line;
}
