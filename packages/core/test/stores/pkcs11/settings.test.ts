import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { pkcs11Settings } from '../../../src/stores/pkcs11/settings.ts';

const keyset = '/var/lib/teapot-kms/main';

test('only the keyset must be set', () => {
  assert.equal(pkcs11Settings.parse({ keyset }), {
    keyset,
    stateDirectory: '/var/lib/teapot-kms/pkcs11',
    mechanism: 'auto',
    sessions: 8,
    callTimeout: 1_500,
    localKeks: { softAge: 3_600_000, hardAge: 86_400_000, cacheEntries: 10_000, maxPending: 1_024 },
    direct: false,
  });
});

const accepted: readonly object[] = [
  ...['auto', 'aes-gcm', 'aes-key-wrap-pad', 'aes-key-wrap', 'rsa-oaep-sha256', 'rsa-oaep-sha1'].map((mechanism) => ({
    mechanism,
  })),
  { sessions: 1 },
  { sessions: 64 },
  { callTimeout: '100ms' },
  { libraryParameters: "configdir='sql:/var/lib/nss' flags=" },
];
for (const value of accepted) {
  test(`accepted: ${JSON.stringify(value)}`, () => {
    assert.is(pkcs11Settings.safeParse({ keyset, ...value }).success, true);
  });
}

const refused: readonly object[] = [
  { keyset: undefined },
  { keyset: 'relative/keyset' },
  { stateDirectory: './state' },
  { mechanism: 'rsa-pkcs1' },
  { mechanism: 'AES-GCM' },
  { sessions: 0 },
  { sessions: 65 },
  { sessions: 1.5 },
  { callTimeout: '99ms' },
  { callTimeout: 2 },
  { libraryParameters: '' },
  { libraryParameters: 'two\nlines' },
  { pin: '1234' },
];
for (const value of refused) {
  test(`refused: ${JSON.stringify(value)}`, () => {
    assert.is(pkcs11Settings.safeParse({ keyset, ...value }).success, false);
  });
}

test.run();
