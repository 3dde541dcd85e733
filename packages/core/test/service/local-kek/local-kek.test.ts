import { FaultInjectingRemoteKek, rejectsWithCode } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeEnvelope } from '../../../src/envelope/codec.ts';
import { destroyLocalKek, newLocalKek } from '../../../src/service/local-kek/sealing-keks.ts';
import type { SecretBytes } from '../../../src/util/secret-bytes.ts';
import { patient } from '../../support/context.ts';

const contextId = randomBytes(16);

/** A token that keeps the keys it was asked to wrap, as a bad one might. */
function keeping(): { remote: FaultInjectingRemoteKek; seen: SecretBytes[]; copies: Buffer[] } {
  const [remote, seen, copies] = [new FaultInjectingRemoteKek(), [] as SecretBytes[], [] as Buffer[]];
  const real = remote.wrap.bind(remote);
  remote.wrap = (keyId, key, context) => {
    seen.push(key);
    copies.push(Buffer.from(key.expose()));
    return real(keyId, key, context);
  };
  return { remote, seen, copies };
}

test('the half that opens opens what the half that seals has sealed', async () => {
  const { remote } = keeping();
  const kek = await newLocalKek(remote, remote.token.primary, contextId, patient);
  const envelope = decodeEnvelope(kek.sealing.seal(Buffer.from('x')));
  assert.equal(envelope.wrapped, kek.wrapped);
  assert.is(kek.opening.open(envelope).toString(), 'x');
  destroyLocalKek(kek);
  await rejectsWithCode(() => kek.sealing.seal(Buffer.from('x')), 'ERR_KMS_CLOSED');
  await rejectsWithCode(() => kek.opening.open(envelope), 'ERR_KMS_CLOSED');
});

test('each local KEK is another 32 random bytes, and wiped once it is wrapped', async () => {
  const { remote, seen, copies } = keeping();
  for (let i = 0; i < 10; i++) destroyLocalKek(await newLocalKek(remote, remote.token.primary, contextId, patient));
  assert.is(new Set(copies.map((copy) => copy.toString('hex'))).size, 10);
  for (const key of seen) assert.equal(key.expose(), Buffer.alloc(32));
});

test('a local KEK whose wrap fails is wiped too', async () => {
  const { remote, seen } = keeping();
  remote.wrapping.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
  const make = () => newLocalKek(remote, remote.token.primary, contextId, patient);
  await rejectsWithCode(make, 'ERR_KMS_STORE_UNAVAILABLE');
  assert.equal(seen[0]!.expose(), Buffer.alloc(32));
});

test('a wrapped form that is too long for an envelope is refused, and the key wiped', async () => {
  const { remote, seen } = keeping();
  const real = remote.wrap.bind(remote);
  remote.wrap = async (...args) => Buffer.concat([await real(...args), Buffer.alloc(500)]);
  const make = () => newLocalKek(remote, remote.token.primary, contextId, patient);
  await rejectsWithCode(make, 'ERR_KMS_LIMIT_EXCEEDED');
  assert.equal(seen[0]!.expose(), Buffer.alloc(32));
});

test.run();
