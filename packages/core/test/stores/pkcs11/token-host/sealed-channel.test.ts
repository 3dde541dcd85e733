import { rejectsWithCode } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SecretBytes } from '../../../../src/util/secret-bytes.ts';
import { KeyAgreement, SealedChannel } from '../../../../src/stores/pkcs11/token-host/sealed-channel.ts';
import { newKeyBytes } from '../../../support/keys.ts';

function newChannel(): { plugin: SealedChannel; host: SealedChannel } {
  const [ours, theirs] = [new KeyAgreement(), new KeyAgreement()];
  return {
    plugin: new SealedChannel(ours.agree(theirs.publicKey), 'plugin'),
    host: new SealedChannel(theirs.agree(ours.publicKey), 'host'),
  };
}

const secret = (bytes: Buffer) => new SecretBytes(Buffer.from(bytes));

test('both ends arrive at the same 32 bytes, and nobody else does', () => {
  const [ours, theirs, other] = [new KeyAgreement(), new KeyAgreement(), new KeyAgreement()];
  const key = ours.agree(theirs.publicKey);
  assert.is(key.length, 32);
  assert.equal(theirs.agree(ours.publicKey).expose(), key.expose());
  assert.not.equal(other.agree(theirs.publicKey).expose(), key.expose());
});

test('a public key that is none, or one that would give a known secret, is refused', () => {
  const agreement = new KeyAgreement();
  const { publicKey } = agreement;
  assert.is(publicKey.length, 44);
  assert.throws(() => agreement.agree(publicKey.subarray(1)));
  // The point 0 (RFC 7748 §6.1) makes the shared secret 0 whatever the private key is.
  const zero = Buffer.from(publicKey);
  zero.fill(0, 12);
  assert.throws(() => agreement.agree(zero));
});

test('what one end seals the other opens, both ways', () => {
  const { plugin, host } = newChannel();
  for (const length of [1, 32, 255]) {
    const bytes = randomBytes(length);
    assert.equal(host.open(plugin.seal(secret(bytes))).expose(), bytes);
    assert.equal(plugin.open(host.seal(secret(bytes))).expose(), bytes);
  }
});

test('the secret is not in what crosses the pipe, and the same one never looks the same', () => {
  const { plugin } = newChannel();
  const bytes = newKeyBytes();
  const [first, second] = [plugin.seal(secret(bytes)), plugin.seal(secret(bytes))];
  assert.not.ok(first.includes(bytes.subarray(0, 8)));
  assert.not.equal(first, second);
});

test('what is given to seal stays its owner’s', () => {
  const { plugin } = newChannel();
  const bytes = randomBytes(32);
  const key = secret(bytes);
  plugin.seal(key);
  assert.equal(key.expose(), bytes);
});

test('an end does not open what it has sealed itself: nothing can be sent back to it', async () => {
  const { plugin, host } = newChannel();
  await rejectsWithCode(() => plugin.open(plugin.seal(secret(randomBytes(32)))), 'ERR_KMS_STORE_UNAVAILABLE');
  await rejectsWithCode(() => host.open(host.seal(secret(randomBytes(32)))), 'ERR_KMS_STORE_UNAVAILABLE');
});

test('a changed bit anywhere, and every cut, is refused', async () => {
  const { plugin, host } = newChannel();
  const sealed = plugin.seal(secret(randomBytes(32)));
  for (let at = 0; at < sealed.length; at++) {
    const changed = Buffer.from(sealed);
    changed[at]! ^= 1;
    await rejectsWithCode(() => host.open(changed), 'ERR_KMS_STORE_UNAVAILABLE');
    await rejectsWithCode(() => host.open(sealed.subarray(0, at)), 'ERR_KMS_STORE_UNAVAILABLE');
  }
});

test('another token host’s bytes are foreign', async () => {
  const sealed = newChannel().plugin.seal(secret(randomBytes(32)));
  await rejectsWithCode(() => newChannel().host.open(sealed), 'ERR_KMS_STORE_UNAVAILABLE');
});

test('a view of a larger message is opened as it is', () => {
  const { plugin, host } = newChannel();
  const bytes = randomBytes(32);
  const sealed = plugin.seal(secret(bytes));
  const message = Buffer.concat([Buffer.alloc(7), sealed, Buffer.alloc(9)]);
  const view = new Uint8Array(message.buffer, message.byteOffset + 7, sealed.length);
  assert.equal(host.open(view).expose(), bytes);
});

test('the agreed key is wiped when the channel has it, and a destroyed channel does nothing', async () => {
  const key = secret(randomBytes(32));
  const channel = new SealedChannel(key, 'plugin');
  assert.equal(key.expose(), Buffer.alloc(32));
  channel.destroy();
  await rejectsWithCode(() => channel.seal(secret(randomBytes(32))), 'ERR_KMS_CLOSED');
});

test.run();
