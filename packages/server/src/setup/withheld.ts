/** What stands for a secret. */
const WITHHELD = '(not shown)';

/**
 * Returns an EncryptionConfiguration without what may be a key of another provider: every value of `secret`, also one that continues on further
 * lines, and in comments everything that looks like one. Only for people: the text is no longer the same configuration.
 */
export function withoutSecrets(text: string): string {
  const lines = text.split('\n');
  const shown: string[] = [];
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at]!;
    const found = /["']?\bsecret\b["']?\s*:/i.exec(line);
    if (!found) {
      shown.push(withoutInComment(line));
      continue;
    }
    const column = line.search(/[^\s-]/);
    shown.push(`${line.slice(0, found.index)}secret: ${WITHHELD}`);
    // A folded, literal or wrapped value: all lines that are indented deeper than its key.
    while (at + 1 < lines.length && lines[at + 1]!.trim() !== '' && indentOf(lines[at + 1]!) > column) at++;
  }
  return shown.join('\n');
}

const indentOf = (line: string): number => line.search(/\S/);

function withoutInComment(line: string): string {
  const at = line.search(/(^|\s)#/);
  return at < 0 ? line : line.slice(0, at) + line.slice(at).replace(/[A-Za-z0-9+/_-]{20,}={0,2}/g, WITHHELD);
}
