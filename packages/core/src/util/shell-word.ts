/** What a POSIX shell takes as it is, in any place of a command but the first. */
const PLAIN = /^[\w@%+=:,./-]+$/;

/** Text in single quotes, for any POSIX shell. */
export const inShellQuotes = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/**
 * Text as one word of a command that an operator copies into a shell (POSIX.1-2024, Shell Command Language §2.2.2).
 * @returns the text itself where that is one word, else the text in single quotes
 */
export const shellWord = (text: string): string => (PLAIN.test(text) ? text : inShellQuotes(text));
