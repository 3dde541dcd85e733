/** In single quotes, for any shell of POSIX. */
export const inShellQuotes = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** A word of a printed command: a path, as a rule. In quotes only if it needs them. */
export const shellWord = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : inShellQuotes(word));
