// Design §6, the rows about PINs, keys, the manifest and load: each test asserts every column, and the recovery.
import { newPin } from '@teapot-kms/testing/daemons';
import type { Shim, SoftHsm } from '@teapot-kms/testing/daemons';
import { rejectsWithCode, until } from '@teapot-kms/testing';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import { decodeEnvelope } from '../../src/envelope/codec.ts';
import type { KmsError } from '../../src/errors.ts';
import { ALL_WELL, CKR, Rig, sealedKey, shimmedToken } from './support/rig.ts';
import type { SealedKey } from './support/rig.ts';
import { importedKek, newDirectory, patient, putKey } from './support/tokens.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

const UNAVAILABLE = 'ERR_KMS_STORE_UNAVAILABLE';
const GONE = 'ERR_KMS_KEY_GONE';
const NOTHING = { encrypt: UNAVAILABLE, cached: UNAVAILABLE, cold: UNAVAILABLE, status: UNAVAILABLE } as const;

const parts = await shimmedToken('the failure table of keys on SoftHSM2');
if (parts) {
  const key = await sealedKey(parts.shim, 40);
  registerPins(parts.shim, key);
  registerKeys(parts.softHsm, parts.shim, key);
  registerTheRest(parts.shim, key);
}

/** A PIN file of the test's own. */
function pinFile(pin: string): { readonly path: string; readonly write: (pin: string) => void } {
  const path = join(newDirectory(), 'pin');
  const write = (content: string) => writeFileSync(path, content, { mode: 0o600 });
  write(pin);
  return { path, write };
}

function registerPins(shim: Shim, key: SealedKey): void {
  test('at the start the PIN is wrong, and a changed one is found without a restart', () =>
    Rig.prepared({ shim, key }, async (rig) => {
      const pin = pinFile(newPin());
      rig.open({ pinFile: pin.path });
      await rig.probeFails();
      await rig.expect(NOTHING);
      await rig.probeFails();
      await rig.probeFails();
      assert.match(rig.service.describe().warnings.join(), /refused the PIN/);
      assert.equal(shim.calls('C_Login'), 1);
      pin.write(shim.pin);
      await rig.settles(ALL_WELL);
      assert.equal(shim.calls('C_Login'), 2);
    }));

  test('at run time the PIN becomes wrong: keys in memory go on, and Status says so after the grace time', () =>
    Rig.prepared({ shim, key }, async (rig) => {
      const pin = pinFile(shim.pin);
      rig.open({ pinFile: pin.path });
      await rig.settles(ALL_WELL);
      pin.write(newPin());
      // The token wants a login again.
      shim.orders('token reset');
      await rig.probeFails();
      await rig.expect({ encrypt: 'works', cached: 'works', cold: UNAVAILABLE, status: 'ok' });
      rig.clock.skip(3 * MINUTE);
      await rig.settles({ encrypt: 'works', cached: 'works', cold: UNAVAILABLE, status: /refused the PIN/ });
      assert.equal(shim.calls('C_Login'), 2);
      pin.write(shim.pin);
      await rig.settles(ALL_WELL);
      assert.equal(shim.calls('C_Login'), 3);
    }));
}

function registerKeys(softHsm: SoftHsm, shim: Shim, key: SealedKey): void {
  /** Keys in memory go on up to their hard age; Status is an error, but not before the loss was seen twice. */
  async function losesItsKey(rig: Rig): Promise<void> {
    const failures = () => rig.counter('probe_failures');
    const status = async () => {
      const before = failures();
      try {
        await rig.service.status();
        return undefined;
      } catch (error) {
        return { code: (error as KmsError).code, seen: before };
      }
    };
    const error = await until('Status is an error', status, { everyMs: 5 });
    assert.equal(error.code, GONE);
    assert.ok(error.seen >= 2, `after ${String(error.seen)} probes`);
    await rig.expect({ encrypt: 'works', cached: 'works', cold: GONE, status: GONE });
    rig.clock.skip(25 * HOUR);
    await rig.expect({ encrypt: GONE, cached: GONE, cold: GONE, status: GONE });
  }

  test('the key is destroyed behind our back, and comes back', async () => {
    const value = randomBytes(32);
    const own = await sealedKey(shim, 8, (options) => importedKek(options, value));
    await Rig.started({ shim, key: own }, async (rig) => {
      await softHsm.deleteObject(Buffer.from(own.keyId).toString('hex'));
      await losesItsKey(rig);
      await putKey(rig.options, own.keyId, value);
      await rig.settles(ALL_WELL);
    });
  });

  for (const use of ['C_DecryptInit', 'C_EncryptInit']) {
    test(`the key is forbidden in ${use}, and allowed again`, () =>
      Rig.started({ shim, key }, async (rig) => {
        shim.orders(`fail C_DecryptInit ${CKR.keyFunctionNotPermitted}`, `fail ${use} ${CKR.keyFunctionNotPermitted}`);
        await losesItsKey(rig);
        shim.clear();
        await rig.settles(ALL_WELL);
      }));
  }

  test('a key that is missing once is not lost', () =>
    Rig.started({ shim, key }, async (rig) => {
      shim.orders(`fail C_DecryptInit ${CKR.keyFunctionNotPermitted} 1`);
      await rig.probeFails();
      await rig.settles(ALL_WELL);
      assert.equal(rig.counter('probe_failures'), 1);
    }));
}

function registerTheRest(shim: Shim, key: SealedKey): void {
  test('a damaged manifest is a warning, and takes nothing away', () =>
    Rig.started({ shim, key }, async (rig) => {
      const path = join(key.directory, 'keyset', 'keyset.yaml');
      const manifest = readFileSync(path);
      const warnings = () => rig.service.describe().warnings.length;
      try {
        writeFileSync(path, manifest.subarray(0, manifest.length / 2));
        await until('there is a warning', () => warnings() === 1, { everyMs: 20 });
        await rig.expect(ALL_WELL);
        assert.equal(rig.events.filter(({ type }) => type === 'store-failed').length, 1);
      } finally {
        writeFileSync(path, manifest);
      }
      await until('the warning is gone', () => warnings() === 0, { everyMs: 20 });
      await rig.expect(ALL_WELL);
    }));

  test('beyond so many waiting unwraps others are refused, and nobody who waits for the same ones', () =>
    Rig.started({ shim, key, service: { maxPending: 4, probeIntervalMs: HOUR } }, async (rig) => {
      shim.orders('latency C_Decrypt 300');
      const envelopes = Array.from({ length: 10 }, () => rig.cold());
      const opening = Promise.allSettled([...envelopes, ...envelopes].map((sealed) => rig.opens(sealed)));
      await rig.expect({ encrypt: 'works', cached: 'works', cold: 'ERR_KMS_OVERLOADED', status: 'ok' });
      const outcomes = (await opening).map((outcome) =>
        outcome.status === 'fulfilled' ? 'works' : (outcome.reason as KmsError).code,
      );
      const ten = [...Array<string>(4).fill('works'), ...Array<string>(6).fill('ERR_KMS_OVERLOADED')];
      assert.deepEqual(outcomes, [...ten, ...ten]);
      assert.equal(rig.counter('rejected'), 13);
      shim.clear();
      await rig.expect(ALL_WELL);
    }));

  test('changed wrapped keys are refused in one way, and disturb nobody', () =>
    Rig.started({ shim, key, service: { probeIntervalMs: HOUR } }, async (rig) => {
      const { ciphertext, keyId } = rig.cold();
      const { wrapped } = decodeEnvelope(ciphertext);
      const at = ciphertext.indexOf(wrapped);
      // The mechanism's code, the IV, the ciphertext, the tag.
      for (const byte of [0, 1, 12, 13, 30, 44, 45, 60]) {
        const changed = Buffer.from(ciphertext);
        changed[at + byte]! ^= 1;
        await rejectsWithCode(
          () => rig.service.decrypt({ ciphertext: changed, keyId }, patient()),
          'ERR_KMS_UNWRAP_FAILED',
        );
      }
      assert.equal(rig.counter('token_host_starts'), 1);
      await rig.expect(ALL_WELL);
      shim.orders('token absent');
      const changed = Buffer.from(ciphertext);
      changed[at + 20]! ^= 1;
      // Nobody knows whether it would be refused.
      await rejectsWithCode(() => rig.service.decrypt({ ciphertext: changed, keyId }, patient()), UNAVAILABLE);
    }));
}

test.run();
