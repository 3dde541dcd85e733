// Keys that are gone from a token, or were exchanged in it (docs/spec/keyset-v2.md §6): the others open what they can.
import { SoftHsm } from '@teapot-kms/testing/daemons';
import { rejectsWithCode, until } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { generateKey } from '../../src/keyset/administration.ts';
import { LastingSite, plaintext, provenBy, warned } from './support/lasting-site.ts';
import { newDirectory, newKek, patient, use } from './support/tokens.ts';

const SECOND = 1_000;
const MINUTE = 60_000;

const missing = SoftHsm.missing();
if (missing !== undefined) console.log(`SKIPPED keys that a token has lost: ${missing}`);
else {
  const token = await SoftHsm.create(newDirectory());
  use(token);

  test('another key in the place of the primary is healthz, after the grace', async () => {
    const site = new LastingSite(token);
    const kek = await newKek(site.options);
    const { primary } = await kek.describe(patient());
    // Its local KEK is due for a renewal before the grace is over.
    const service = site.start({ softAgeMs: MINUTE, statusGraceMs: 5 * MINUTE });
    await service.status();
    await kek.destroy(primary);
    await kek.generate(primary);
    await site.clock.advance(2 * MINUTE);
    site.touch();
    await warned(service, /the token has another key under the id/);
    assert.is((await service.status()).healthz, 'ok');
    await site.clock.advance(4 * MINUTE);
    assert.match((await service.status()).healthz, /the token has another key under the id/);
    await service.close();
    await kek.close();
  });

  test('another key in the place of one that is not the primary is a warning, and opens nothing', async () => {
    const site = new LastingSite(token);
    const { kek, first, second, sealed } = await site.promoted();
    await kek.destroy(first);
    await kek.generate(first);
    const service = site.start({ statusGraceMs: MINUTE });
    assert.is((await service.status()).keyId, second);
    await warned(
      service,
      new RegExp(`the token has another key under the id ${first} .*fix: restore the key in the token`),
    );
    await rejectsWithCode(() => service.decrypt(sealed, patient()), 'ERR_KMS_UNKNOWN_KEY');
    assert.equal(provenBy(service), [second]);
    await site.clock.advance(2 * MINUTE);
    assert.is((await service.encrypt(plaintext, patient())).keyId, second);
    await service.close();
    await kek.close();
  });

  test('a key that the token does not have, and that is not the primary, is a warning also at a start', async () => {
    const site = new LastingSite(token);
    const { kek, first, second, sealed } = await site.promoted();
    await kek.destroy(first);
    const service = site.start();
    assert.is((await service.status()).keyId, second);
    await warned(
      service,
      new RegExp(`ERR_KMS_KEY_GONE: key ${first} is not in the token.*fix: restore the key in the token`),
    );
    await rejectsWithCode(() => service.decrypt(sealed, patient()), 'ERR_KMS_KEY_GONE');
    assert.is((await service.encrypt(plaintext, patient())).keyId, second);
    await service.close();
    await kek.close();
  });

  test('a start without the primary opens what other keys have sealed', async () => {
    const site = new LastingSite(token);
    const { kek, second, sealed } = await site.promoted();
    const newer = await site.sealed();
    await kek.destroy(second);
    const service = site.start();
    assert.equal(await service.decrypt(sealed, patient()), plaintext);
    await rejectsWithCode(() => service.decrypt(newer, patient()), 'ERR_KMS_KEY_GONE');
    await rejectsWithCode(() => service.encrypt(plaintext, patient()), 'ERR_KMS_STORE_UNAVAILABLE');
    await warned(service, new RegExp(`ERR_KMS_KEY_GONE: key ${second} is not in the token.*fix: restore the key`));
    await site.clock.advance(SECOND);
    await until('a second probe', () => service.describe().counters['probe_failures'] === 2, { everyMs: 5 });
    await rejectsWithCode(() => service.status(), 'ERR_KMS_KEY_GONE');
    assert.equal(await service.decrypt(sealed, patient()), plaintext);
    await service.close();
    await kek.close();
  });

  for (const [what, replace] of [
    ['goes', false],
    ['is exchanged', true],
  ] as const) {
    test(`no report proves a pending key once it ${what}`, async () => {
      const site = new LastingSite(token);
      const kek = await newKek(site.options);
      const { keyId } = await generateKey(kek.admin);
      const service = site.start();
      const { keyId: primary } = await service.status();
      assert.equal(provenBy(service), [primary, keyId].sort());
      await kek.destroy(keyId);
      if (replace) await kek.generate(keyId);
      site.touch();
      await warned(service, replace ? /another key under the id/ : /ERR_KMS_KEY_GONE/);
      assert.equal(provenBy(service), [primary]);
      await service.close();
      await kek.close();
    });
  }

  test.run();
}
