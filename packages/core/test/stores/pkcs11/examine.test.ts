// What doctor makes of a key's attributes. With real modules: integration/pkcs11, and packages/server/integration/pkcs11-cli.test.ts.
import { FakeClock } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { examineToken } from '../../../src/stores/pkcs11/examine.ts';
import type { MechanismName } from '../../../src/stores/pkcs11/token-host/mechanism-name.ts';
import { SecretBytes } from '../../../src/util/secret-bytes.ts';
import { patient } from '../../support/context.ts';
import { manifestOf } from '../../support/manifests.ts';
import { TOKEN } from '../../support/tokens.ts';

const LOCAL = 'CKA_LOCAL is false: the key was not made in the token, so a copy of it may exist';
const EXTRACTABLE = 'CKA_EXTRACTABLE is true: the key can leave the token';

interface Given {
  readonly remarks: readonly string[];
  /** Of a key that the token has just made; `undefined` where it makes none. */
  readonly ofTrial?: readonly string[];
  readonly mechanism?: MechanismName;
  readonly usesOneThread?: boolean;
}

/** The findings about a keyset with one key, without those that are well. */
async function findings({ remarks, ofTrial, mechanism = 'aes-gcm', usesOneThread = false }: Given) {
  const manifest = manifestOf('promoted');
  let trials = 0;
  const kek = {
    admin: { readManifest: () => Promise.resolve({ manifest }) },
    token: () => ({ info: () => Promise.resolve(TOKEN), usesOneThread }),
    listKeys: () => Promise.resolve([manifest.primary]),
    keyInfo: () => Promise.resolve({ mechanism, remarks }),
    remarksOnTrial: () => {
      trials++;
      return ofTrial ? Promise.resolve(ofTrial) : Promise.reject(new Error('no such mechanism'));
    },
    wrap: (_: string, key: SecretBytes) => Promise.resolve(Buffer.from(key.expose())),
    unwrap: (_: string, wrapped: Buffer) => Promise.resolve(new SecretBytes(wrapped)),
  } as unknown as Parameters<typeof examineToken>[0];
  const all = await examineToken(kek, 'kek', new FakeClock(), patient);
  return { hints: all.filter(({ level }) => level !== 'ok').map(({ remedy }) => remedy ?? ''), trials };
}

test('an attribute that a next key would not have: make one', async () => {
  const { hints } = await findings({ remarks: [LOCAL], ofTrial: [] });
  assert.match(hints.join(), /^make the next key in the token /);
});

test('where the token makes no key for a moment, the advice is the same', async () => {
  const { hints } = await findings({ remarks: [LOCAL] });
  assert.match(hints.join(), /^make the next key in the token /);
});

test('an attribute of every key that says where it comes from is no hint', async () => {
  const { hints } = await findings({ remarks: [LOCAL], ofTrial: [LOCAL] });
  assert.equal(hints, []);
});

test('an attribute of every key that says what can be done with it is one, and no new key is advised', async () => {
  const { hints } = await findings({ remarks: [EXTRACTABLE], ofTrial: [EXTRACTABLE] });
  assert.equal(hints, ['use another token, or ask the vendor of the module']);
});

test('no key is made for a moment for a key without remarks, nor a pair, which takes a TPM a minute', async () => {
  assert.is((await findings({ remarks: [], ofTrial: [] })).trials, 0);
  const { hints, trials } = await findings({ remarks: [LOCAL], ofTrial: [LOCAL], mechanism: 'rsa-oaep-sha256' });
  assert.is(trials, 0);
  assert.is(hints.length, 1);
});

test('a module with a login for each thread: one session is advised', async () => {
  const { hints } = await findings({ remarks: [], usesOneThread: true });
  assert.match(hints.join(), /^set sessions: 1/);
});

test.run();
