import type { Finding } from '@teapot-kms/core';

/** Returns the findings without the problems that have the cause of an earlier one: each cause has one remedy. */
export function withoutRepeats(findings: readonly Finding[]): Finding[] {
  const kept: Finding[] = [];
  for (const finding of findings) {
    const text = causeOf(finding);
    const repeats =
      finding.level === 'problem' && kept.some((one) => one.level === 'problem' && text.includes(causeOf(one)));
    if (!repeats) kept.push(finding);
  }
  return kept;
}

/** What a running plugin says of itself. @param texts - as `status` shows them: `CODE: message; fix: remedy` */
export function said(level: Finding['level'], about: string, texts: readonly string[]): Finding[] {
  return texts.map((line) => {
    const [, code, text = line, remedy] = /^(ERR_KMS_[A-Z_]+): (.*?)(?:; fix: (.*))?$/s.exec(line) ?? [];
    const shown = code === undefined ? text : `${text} (${code})`;
    return { level, about, text: shown, ...(remedy !== undefined && { remedy }) };
  });
}

/** The message of an error without its code, wherever it came from. */
const causeOf = ({ text }: Finding): string => text.replace(/ \(ERR_KMS_[A-Z_]+\)$/, '').replace(/\.$/, '');
