import assert from 'node:assert/strict';
import { inspect } from 'node:util';

/** Fails where `shown`, however it may be logged, holds `secret` in hexadecimal, base64, as numbers or as it is. */
export function assertNoSecret(shown: unknown, secret: Uint8Array, what = 'this'): void {
  const bytes = Buffer.from(secret);
  const forms = [
    bytes.toString('hex'),
    bytes.toString('base64').replace(/=+$/, ''),
    bytes.toString('base64url'),
    bytes.toString('latin1'),
    [...bytes].join(','),
    [...bytes].join(', '),
    bytes.toString('hex').replaceAll(/(..)(?=.)/g, '$1 '),
  ];
  for (const text of textsOf(shown)) {
    for (const form of forms) if (text.includes(form)) assert.fail(`a secret is to be seen in ${what}`);
  }
}

function textsOf(shown: unknown): string[] {
  const whole = {
    depth: Infinity,
    showHidden: true,
    maxArrayLength: Infinity,
    maxStringLength: Infinity,
    getters: true,
  };
  const texts = [inspect(shown, whole), inspect(shown), String(shown), json(shown)];
  if (shown instanceof Error) {
    texts.push(shown.message, shown.stack ?? '');
    if (shown.cause !== undefined) texts.push(...textsOf(shown.cause));
  }
  return texts;
}

function json(shown: unknown): string {
  try {
    const text = JSON.stringify(shown) as string | undefined;
    return text ?? '';
  } catch {
    return '';
  }
}
