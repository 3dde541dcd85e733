import { rejectsWithCode } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SecretBytes } from '../../../../src/util/secret-bytes.ts';
import { newChannelKey, SealedChannel } from '../../../../src/stores/pkcs11/token-host/sealed-channel.ts';
import { newKeyBytes } from '../../../support/keys.ts';

function newChannel(): { plugin: SealedChannel; host: SealedChannel } {
  const key = newChannelKey();
  return { plugin: new SealedChannel(key), host: new SealedChannel(key) };
}

const secret = (bytes: Buffer) => new SecretBytes(Buffer.from(bytes));

test('what one end seals the other opens, both ways', () => {
  const { plugin, host } = newChannel();
  for (const length of [1, 32, 255]) {
    const bytes = randomBytes(length);
    assert.equal(host.open(plugin.seal(secret(bytes))).expose(), bytes);
    assert.equal(plugin.open(host.seal(secret(bytes))).expose(), bytes);
  }
});

test('what is sealed for one thing opens for no other', async () => {
  const { plugin, host } = newChannel();
  const sealed = host.seal(secret(randomBytes(32)), Buffer.from('one blob'));
  assert.is(plugin.open(sealed, Buffer.from('one blob')).length, 32);
  for (const about of [Buffer.from('another blob'), undefined]) {
    await rejectsWithCode(() => Promise.resolve().then(() => plugin.open(sealed, about)), 'ERR_KMS_STORE_UNAVAILABLE');
  }
});

test('the secret is not in what crosses the pipe, and sealed twice it looks different', () => {
  const { plugin } = newChannel();
  const bytes = newKeyBytes();
  const [first, second] = [plugin.seal(secret(bytes)), plugin.seal(secret(bytes))];
  assert.not.ok(first.includes(bytes.subarray(0, 8)));
  assert.not.equal(first, second);
});

test('secret and channel key stay the caller’s', () => {
  const [bytes, keyBytes] = [randomBytes(32), randomBytes(32)];
  const [given, key] = [secret(bytes), secret(keyBytes)];
  new SealedChannel(key).seal(given);
  assert.equal(given.expose(), bytes);
  assert.equal(key.expose(), keyBytes);
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

test('the bytes of another token host are refused', async () => {
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

test('a destroyed channel does nothing', async () => {
  const { plugin } = newChannel();
  plugin.destroy();
  await rejectsWithCode(() => plugin.seal(secret(randomBytes(32))), 'ERR_KMS_CLOSED');
});

test.run();
