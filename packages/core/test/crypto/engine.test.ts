import { rejectsWithCode } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { CryptoEngine } from '../../src/crypto/engine.ts';
import type { CryptoEngineName } from '../../src/crypto/engine.ts';
import { decodeEnvelope } from '../../src/envelope/codec.ts';
import type { KmsError } from '../../src/errors.ts';
import { impatient, patient } from '../support/context.ts';
import { makeKey } from '../support/keys.ts';

const small = { cores: 4, aesInstructions: false };
/** Gives everything to three threads. */
const pooled = () => new CryptoEngine('pool', { host: small, inlineBytes: 0 });

const plaintexts = (count: number, bytes = 1_000) =>
  Array.from({ length: count }, (_, index) => Buffer.concat([Buffer.from([index]), randomBytes(bytes)]));

for (const count of [1, 4, 50, 600]) {
  test(`of ${count} at a time, what threads seal is opened inline`, async () => {
    const [engine, key] = [pooled(), makeKey()];
    const messages = plaintexts(count);
    const sealed = await Promise.all(messages.map(async (message) => engine.seal(key, message, patient)));
    for (const [index, { ciphertext, keyId }] of sealed.entries()) {
      assert.is(keyId, key.keyId);
      assert.equal(key.open(decodeEnvelope(ciphertext)), messages[index]);
    }
    await engine.close();
  });

  test(`of ${count} at a time, what was sealed inline is opened by threads`, async () => {
    const [engine, key] = [pooled(), makeKey()];
    const messages = plaintexts(count);
    const envelopes = messages.map((message) => decodeEnvelope(key.seal(message)));
    const opened = await Promise.all(envelopes.map(async (envelope) => engine.open(key, envelope, patient)));
    assert.equal(opened, messages);
    await engine.close();
  });
}

test('messages of all lengths and both directions go together', async () => {
  const [engine, key] = [pooled(), makeKey({ wrapped: randomBytes(60) })];
  const lengths = [1, 15, 16, 17, 32, 4_096, 64_000];
  await Promise.all(
    lengths.flatMap((length) => {
      const message = randomBytes(length);
      return [
        Promise.resolve(engine.seal(key, message, patient)).then(({ ciphertext }) =>
          assert.equal(key.open(decodeEnvelope(ciphertext)), message),
        ),
        Promise.resolve(engine.open(key, decodeEnvelope(key.seal(message)), patient)).then((opened) =>
          assert.equal(opened, message),
        ),
      ];
    }),
  );
  await engine.close();
});

test('a changed envelope among good ones is refused, and only that', async () => {
  const [engine, key] = [pooled(), makeKey()];
  const messages = plaintexts(20);
  const opening = messages.map(async (message, index) => {
    const envelope = decodeEnvelope(key.seal(message));
    if (index === 7) envelope.sealed[0]! ^= 1;
    if (index === 8) envelope.sealed[envelope.sealed.length - 1]! ^= 1;
    if (index === 9) envelope.nonce[20]! ^= 1;
    if (index === 10) envelope.header[6]! ^= 1;
    return engine.open(key, envelope, patient);
  });
  for (const [index, outcome] of (await Promise.allSettled(opening)).entries()) {
    const bad = index >= 7 && index <= 10;
    if (outcome.status === 'fulfilled') assert.equal(bad ? 'refused' : outcome.value, messages[index]);
    else assert.is(bad && (outcome.reason as KmsError).code, 'ERR_KMS_AUTHENTICATION_FAILED');
  }
  await engine.close();
});

test('a short message is answered at once, whatever the engine', () => {
  const key = makeKey();
  for (const name of ['auto', 'inline', 'pool'] as const) {
    const engine = new CryptoEngine(name, { host: small });
    const sealed = engine.seal(key, Buffer.alloc(32), patient);
    if (sealed instanceof Promise) throw new Error('sealed later');
    assert.instance(engine.open(key, decodeEnvelope(sealed.ciphertext), patient), Buffer);
  }
});

const choices: [CryptoEngineName, number, boolean, 'inline' | 'pool'][] = [
  ['inline', 64, false, 'inline'],
  ['auto', 64, true, 'inline'],
  ['auto', 3, false, 'inline'],
  ['auto', 4, false, 'pool'],
  ['pool', 2, true, 'pool'],
];
for (const [name, cores, aesInstructions, expected] of choices) {
  const host = `${cores} cores ${aesInstructions ? 'with' : 'without'} AES instructions`;
  test(`${name} on ${host} seals a long message ${expected === 'inline' ? 'inline' : 'in the pool'}`, async () => {
    const engine = new CryptoEngine(name, { host: { cores, aesInstructions } });
    const sealed = engine.seal(makeKey(), Buffer.alloc(40_000), patient);
    assert.is(sealed instanceof Promise ? 'pool' : 'inline', expected);
    await sealed;
    await engine.close();
  });
}

test('what arrives after its caller gave up is wiped', async () => {
  const engine = pooled();
  const key = makeKey();
  let late: Buffer | undefined;
  // The buffer that the result is written to is not seen by anyone else.
  const spied = {
    open: key.open.bind(key),
    destroy: key.destroy.bind(key),
    openBy: async (...args: Parameters<typeof key.openBy>) => (late = await key.openBy(...args)),
  };
  const { giveUp, signal } = impatient();
  const opening = engine.open(spied, decodeEnvelope(key.seal(Buffer.from('a secret'))), { signal });
  giveUp();
  await rejectsWithCode(() => opening, 'ERR_KMS_CANCELLED');
  await engine.close();
  assert.equal(late, Buffer.alloc(8));
});

test('a key may be destroyed while its messages are under way', async () => {
  const [engine, bytes] = [pooled(), randomBytes(32)];
  const key = makeKey({ bytes });
  const messages = plaintexts(10);
  const sealing = messages.map(async (message) => engine.seal(key, message, patient));
  key.destroy();
  const sealed = await Promise.all(sealing);
  const again = makeKey({ bytes });
  assert.equal(
    sealed.map(({ ciphertext }) => again.open(decodeEnvelope(ciphertext))),
    messages,
  );
  await engine.close();
});

test.run();
