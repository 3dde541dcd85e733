import { readYaml } from '@teapot-kms/core';
import { isAlias, isNode, isScalar, visit } from 'yaml';
import type { Document } from 'yaml';

/** What stands for a secret. */
const WITHHELD = '(not shown)';

type Range = readonly [start: number, end: number];

/**
 * Returns an EncryptionConfiguration without what may be a key of another provider: every value of `secret`, however it is written, and in
 * comments everything that looks like one. Of what is no YAML nothing is shown. Only for people: the text is no longer the same configuration.
 */
export function withoutSecrets(text: string): string {
  const { document } = readYaml(text, { stringKeys: true, version: '1.2' });
  if (!document) return WITHHELD;
  let [shown, from] = ['', 0];
  for (const [start, end] of secretsIn(document).toSorted(([a], [b]) => a - b)) {
    if (end <= from) continue;
    // The end of a block is that of its last line.
    shown += `${text.slice(from, start)}${WITHHELD}${text.slice(start, end).endsWith('\n') ? '\n' : ''}`;
    from = end;
  }
  return (shown + text.slice(from)).split('\n').map(withoutInComment).join('\n');
}

function secretsIn(document: Document): Range[] {
  const found: Range[] = [];
  visit(document, {
    Pair(_, { key, value }) {
      if (!isScalar(key) || !/^secret$/i.test(String(key.value)) || !isNode(value)) return;
      const node = isAlias(value) ? value.resolve(document) : value;
      if (node?.range) found.push([node.range[0], node.range[1]]);
    },
  });
  return found;
}

function withoutInComment(line: string): string {
  const at = line.search(/(^|\s)#/);
  if (at < 0) return line;
  const comment = line.slice(at).replace(/(\bsecret\b["']?\s*:).*/i, `$1 ${WITHHELD}`);
  return line.slice(0, at) + comment.replace(/[A-Za-z0-9+/_-]{20,}={0,2}/g, WITHHELD);
}
