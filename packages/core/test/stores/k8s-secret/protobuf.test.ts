import { message, rejectsWithCode, secretObject, statusObject } from '@teapot-kms/testing';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../../src/errors.ts';
import { parseSecret, parseStatus } from '../../../src/stores/k8s-secret/protobuf.ts';

const example = () =>
  secretObject({ name: 's', data: { 'keyset.yaml': Buffer.from('x: 1'), 'k.key': Buffer.alloc(32, 7) } });

test('a Secret has its version and its data, byte for byte', () => {
  const { uid, resourceVersion, data, hasAppliedCopy } = parseSecret(example());
  assert.equal([uid, resourceVersion, hasAppliedCopy], ['uid-1', '42', false]);
  assert.equal([...data.keys()], ['keyset.yaml', 'k.key']);
  assert.equal(data.get('k.key'), Buffer.alloc(32, 7));
});

test('wiping it leaves nothing of the answer', () => {
  const body = example();
  parseSecret(body).wipe();
  assert.ok(body.every((byte) => byte === 0));
});

test('a copy of the data by "kubectl apply" is seen', () => {
  const annotation = message([12, message([1, 'kubectl.kubernetes.io/last-applied-configuration'], [2, '{}'])]);
  assert.ok(parseSecret(secretObject({ name: 's', data: {}, metadata: annotation })).hasAppliedCopy);
});

test('a Status has reason and message', () => {
  assert.equal(parseStatus(statusObject('NotFound', 'not here')), { reason: 'NotFound', message: 'not here' });
});

for (const [what, body] of [
  ['JSON', Buffer.from('{"kind":"Status","reason":"NotFound"}')],
  ['a page of a proxy', Buffer.from('<html>404</html>')],
  ['nothing', Buffer.alloc(0)],
  ['a Secret', example()],
] as const) {
  test(`${what} is no Status`, () => assert.is(parseStatus(body), undefined));
}

test('another kind of object is no Secret', async () => {
  await rejectsWithCode(() => parseSecret(statusObject('x', 'y')), 'ERR_KMS_STORE_UNAVAILABLE');
});

test('whatever is cut off or changed is a Secret or a KmsError, and quickly so', () => {
  const runs = Number(process.env['TEAPOT_FUZZ_RUNS'] ?? 2_000);
  const bytes = example();
  const change = fc.tuple(fc.nat(bytes.length), fc.uint8Array({ maxLength: 12 }), fc.nat(bytes.length));
  fc.assert(
    fc.property(change, ([at, noise, end]) => {
      const body = Buffer.concat([bytes.subarray(0, at), noise, bytes.subarray(at, end)]);
      try {
        parseSecret(body);
      } catch (error) {
        assert.instance(error, KmsError);
      }
    }),
    { numRuns: runs },
  );
});

test.run();
