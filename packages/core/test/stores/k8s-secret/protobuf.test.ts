import { message, rejectsWithCode, secretObject, statusObject } from '@teapot-kms/testing';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../../src/errors.ts';
import { parseSecret, parseStatus } from '../../../src/stores/k8s-secret/protobuf.ts';

const WANTED = { namespace: 'ns', name: 's' };
const example = () =>
  secretObject({ name: 's', data: { 'keyset.yaml': Buffer.from('x: 1'), 'k.key': Buffer.alloc(32, 7) } });

test('a Secret has its version and its data, byte for byte', () => {
  const { uid, resourceVersion, data, hasAppliedCopy } = parseSecret(example(), WANTED);
  assert.equal([uid, resourceVersion, hasAppliedCopy], ['uid-1', '42', false]);
  assert.equal([...data.keys()], ['keyset.yaml', 'k.key']);
  assert.equal(data.get('k.key'), Buffer.alloc(32, 7));
});

test('wiping it leaves nothing of the answer', () => {
  const body = example();
  parseSecret(body, WANTED).wipe();
  assert.ok(body.every((byte) => byte === 0));
});

test('a copy of the data by "kubectl apply" is seen', () => {
  const annotation = message([12, message([1, 'kubectl.kubernetes.io/last-applied-configuration'], [2, '{}'])]);
  assert.ok(parseSecret(secretObject({ name: 's', data: {}, metadata: annotation }), WANTED).hasAppliedCopy);
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

for (const [what, wanted] of [
  ['name', { namespace: 'ns', name: 'other' }],
  ['namespace', { namespace: 'other', name: 's' }],
] as const) {
  test(`a Secret of another ${what} is refused, and wiped`, async () => {
    const body = example();
    await rejectsWithCode(() => parseSecret(body, wanted), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.ok(body.every((byte) => byte === 0));
  });
}

test("a Status's message is one line of whole characters", () => {
  const text = `${'x'.repeat(299)}\u{1f600} and more`;
  assert.is(parseStatus(statusObject('Bad\u001b[31m\n', text))?.message, `${'x'.repeat(299)}…`);
  assert.is(parseStatus(statusObject('a\u001b[31m\nb', text))?.reason, 'a [31m b');
});

test('another kind of object is no Secret', async () => {
  await rejectsWithCode(() => parseSecret(statusObject('x', 'y'), WANTED), 'ERR_KMS_STORE_UNAVAILABLE');
});

test('whatever is cut off or changed is a Secret or a KmsError, and quickly so', () => {
  const runs = Number(process.env['TEAPOT_FUZZ_RUNS'] ?? 2_000);
  const bytes = example();
  const change = fc.tuple(fc.nat(bytes.length), fc.uint8Array({ maxLength: 12 }), fc.nat(bytes.length));
  fc.assert(
    fc.property(change, ([at, noise, end]) => {
      const body = Buffer.concat([bytes.subarray(0, at), noise, bytes.subarray(at, end)]);
      try {
        parseSecret(body, WANTED);
      } catch (error) {
        assert.instance(error, KmsError);
      }
    }),
    { numRuns: runs },
  );
});

test('an object of millions of empty fields is refused, and not read to its end', async () => {
  const fields = message(...Array.from({ length: 60_000 }, () => [2, ''] as const));
  const body = Buffer.concat([Buffer.from('k8s\0'), message([1, message([2, 'Secret'])], [2, fields])]);
  const error = await rejectsWithCode(
    () => parseSecret(body, { namespace: 'ns', name: 's' }),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.match(error.message, 'more than 20000 fields');
});

test.run();
