/** A node that reboots: thousands of Decrypts at once, and nothing in memory yet. */
import { patient, skipWithoutOpenStack, TestCloud } from '@teapot-kms/testing/daemons';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { generateKey, promoteKey } from '../../src/keyset/administration.ts';
import type { KmsError } from '../../src/errors.ts';
import { KeysetService } from '../../src/service/keyset-service.ts';

const VERSIONS = 5;
const DECRYPTS = 10_000;

skipWithoutOpenStack();
const cloud = await TestCloud.start({ tokenCache: 300 });
test.after(() => cloud.stop());

const uri = `barbican:${cloud.newPath('keyset')}`;
interface Sealed {
  readonly ciphertext: Buffer;
  readonly keyId: string;
  readonly plaintext: Buffer;
}

const sealed: Sealed[] = [];
const maker = cloud.open(uri);
for (let version = 0; version < VERSIONS; version++) {
  const { keyId } = await generateKey(maker.admin!);
  if (version > 0) await promoteKey(maker.admin!, keyId);
  const keyset = await maker.load(patient());
  for (let count = 0; count < 20; count++) {
    const plaintext = randomBytes(32);
    sealed.push({ ciphertext: keyset.primary.seal(plaintext), keyId, plaintext });
  }
  keyset.destroy();
}
await maker.close!();

for (const [what, delayMs] of [
  ['cold', 0],
  ['sent while the first load is held back for 1 s and more', 1_000],
] as const) {
  test(`${String(DECRYPTS)} concurrent Decrypts over ${String(VERSIONS)} key versions, ${what}`, async () => {
    cloud.heal();
    if (delayMs > 0) cloud.barbican.fault = () => ({ delayMs });
    const service = new KeysetService({ source: cloud.open(uri) });
    service.start();
    let again = 0;
    // Calls wait one second at most; kube-apiserver then asks again.
    const decrypt = async (one: Sealed): Promise<Buffer> => {
      for (;;) {
        try {
          return await service.decrypt(one, patient());
        } catch (error) {
          if ((error as KmsError).code !== 'ERR_KMS_STORE_UNAVAILABLE') throw error;
          again++;
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
      }
    };
    const right = await Promise.all(
      Array.from({ length: DECRYPTS }, async (_, index) => {
        const one = sealed[index % sealed.length]!;
        return (await decrypt(one)).equals(one.plaintext);
      }),
    );
    assert.is(right.filter(Boolean).length, DECRYPTS);
    const gets = cloud.barbican.count('GET', /payload$/);
    const logins = cloud.keystone.count('POST', /auth\/tokens/);
    const counts = `${String(gets)} GETs of Barbican, ${String(logins)} login, ${String(again)} asked again`;
    console.log(`\nFIGURE ${String(DECRYPTS)} concurrent Decrypts ${what}: ${counts}`);
    assert.is(gets, VERSIONS);
    assert.is(cloud.barbican.requests.length, VERSIONS);
    assert.is(logins, 1);
    await service.close();
  });
}

test.run();
