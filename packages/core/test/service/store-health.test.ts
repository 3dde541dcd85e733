import { FakeClock, rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../src/errors.ts';
import { StoreHealth } from '../../src/service/store-health.ts';

const GRACE_MS = 120_000;
const away = new KmsError('ERR_KMS_STORE_UNAVAILABLE', 'away');
const gone = new KmsError('ERR_KMS_KEY_GONE', 'no such object');

function make(): { health: StoreHealth; clock: FakeClock } {
  const clock = new FakeClock();
  return { health: new StoreHealth(clock, GRACE_MS), clock };
}

test('before the first answer it says so', () => {
  const { health } = make();
  assert.is(health.healthz(), 'the key store has not answered yet');
  assert.is(health.lastGoodAgeMs, undefined);
});

test('a failure before the first good answer is told at once', () => {
  const { health } = make();
  health.failed(away);
  assert.is(health.healthz(), 'away');
});

test('the first good answer is news, the second is not, and one after a failure is', () => {
  const { health } = make();
  assert.equal([health.good(), health.good()], [true, false]);
  health.failed(away);
  assert.equal([health.good(), health.good()], [true, false]);
});

test('it is ok up to the end of the grace time and not beyond', async () => {
  const { health, clock } = make();
  health.good();
  health.failed(away);
  await clock.advance(GRACE_MS);
  assert.is(health.healthz(), 'ok');
  await clock.advance(1);
  assert.is(health.healthz(), 'away (last good answer 120 s ago)');
});

test('without any news it is not ok either: the probe itself may have died', async () => {
  const { health, clock } = make();
  health.good();
  await clock.advance(GRACE_MS + 1);
  assert.match(health.healthz(), /has not answered yet \(last good answer 120 s ago\)/);
});

test('one refusal is not certain, two are, and a good answer between them begins anew', async () => {
  const { health } = make();
  health.good();
  health.failed(gone);
  assert.is(health.goneForMs, undefined);
  health.good();
  health.failed(gone);
  assert.is(health.healthz(), 'ok');
  health.failed(gone);
  assert.is(health.goneForMs, 0);
  const error = await rejectsWithCode(() => health.healthz(), 'ERR_KMS_KEY_GONE');
  assert.is(error.message, 'no such object');
});

test('the time for which it is gone begins with the certainty and is not prolonged by further refusals', async () => {
  const { health, clock } = make();
  health.failed(gone);
  await clock.advance(1_000);
  health.failed(gone);
  await clock.advance(500);
  health.failed(gone);
  assert.is(health.goneForMs, 500);
});

test('a store that cannot be reached after a certain loss does not bring the key back', async () => {
  const { health } = make();
  health.failed(gone);
  health.failed(gone);
  health.failed(away);
  await rejectsWithCode(() => health.healthz(), 'ERR_KMS_KEY_GONE');
  health.good();
  assert.is(health.healthz(), 'ok');
  assert.is(health.goneForMs, undefined);
});

test('damage counts as an answer: ok, with the error shown, and its end is news', async () => {
  const { health, clock } = make();
  const damage = new KmsError('ERR_KMS_KEYSET_INVALID', 'line 3');
  health.good();
  await clock.advance(GRACE_MS * 2);
  health.damaged(damage);
  assert.is(health.healthz(), 'ok');
  assert.is(health.lastError, damage);
  assert.ok(health.good());
  assert.is(health.lastError, undefined);
});

test.run();
