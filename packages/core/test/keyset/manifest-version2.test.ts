import { rejectsWithCode } from '@teapot-kms/testing';
import { createHash } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatManifest, parseManifest } from '../../src/keyset/manifest.ts';
import type { Manifest } from '../../src/keyset/manifest.ts';
import { contentOf } from '../support/manifests.ts';

const version2 = {
  formatVersion: 2,
  contextId: '0123456789abcdef0123456789abcdef',
  generation: 7,
  replaces: 'ab'.repeat(32),
  primary: 'one',
  keys: [
    {
      id: 'one',
      created: '2026-01-02T03:04:05.000Z',
      state: 'promoted',
      since: '2026-01-02T03:04:05.000Z',
      check: '00112233445566778899aabbccddeeff',
      checkKey: Buffer.alloc(60).toString('base64'),
      publicKey: 'cd'.repeat(32),
    },
  ],
  rotation: { step: 'rewrite' },
} satisfies Manifest;

test('version 2 is read as it was written, notes of a rotation included', () => {
  assert.equal(contentOf(parseManifest(formatManifest(version2), 'x')), version2);
});

test('the hash of a manifest is that of its bytes, whatever they mean', () => {
  const text = formatManifest(version2);
  const expected = createHash('sha256').update(text).digest('hex');
  assert.is(parseManifest(text, 'x').hash, expected);
  assert.is.not(parseManifest(`${text}# a comment\n`, 'x').hash, expected);
});

const wrong2: [what: string, from: string | RegExp, to: string, message: RegExp][] = [
  ['no generation', /generation: 7\n/, '', /generation: expected a whole number/],
  [
    'generation 0',
    'generation: 7',
    'generation: 0',
    /:\d+: generation: expected a whole number of at least 1, found 0/,
  ],
  [
    'a generation that is no number',
    'generation: 7',
    'generation: new',
    /:\d+: generation: expected a whole number, found "new"/,
  ],
  [
    'a predecessor that is no hash',
    /replaces: .*/,
    'replaces: abc',
    /:\d+: replaces: expected the SHA-256 of a manifest/,
  ],
  [
    'a check value that is too short',
    /check: .*/,
    'check: abcd',
    /keys\[0\].check: expected a check value: 32 hexadecimal digits/,
  ],
  [
    'a check key that is no base64',
    /checkKey: .*/,
    'checkKey: "?"',
    /keys\[0\].checkKey: expected the wrapped check key, in base64/,
  ],
  [
    'a check key that is too long',
    /checkKey: .*/,
    `checkKey: ${'A'.repeat(688)}`,
    /keys\[0\].checkKey: expected at most 512 bytes/,
  ],
];
for (const [what, from, to, message] of wrong2) {
  test(`version 2: ${what} is refused`, async () => {
    const text = formatManifest(version2);
    const changed = text.replace(from, to);
    assert.is.not(changed, text);
    const error = await rejectsWithCode(() => parseManifest(changed, 'x'), 'ERR_KMS_KEYSET_INVALID');
    assert.match(error.message, message);
  });
}

test.run();
