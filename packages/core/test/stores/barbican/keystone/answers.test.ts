import { rejectsWithCode } from '@teapot-kms/testing';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { findEndpoint } from '../../../../src/stores/barbican/keystone/catalog.ts';
import { errorBody } from '../../../../src/stores/barbican/keystone/error-body.ts';
import { parseTime } from '../../../../src/stores/barbican/keystone/time.ts';

const answer = (status: number, body: string, type = 'application/json') => ({
  status,
  headers: { 'content-type': type },
  body: Buffer.from(body),
});

const bodies: [what: string, given: ReturnType<typeof answer>, text: string, own: boolean][] = [
  ['Keystone', answer(401, '{"error":{"code":401,"message":"no","title":"Unauthorized"}}'), 'no', true],
  [
    'Barbican',
    answer(404, '{"code":404,"title":"Not Found","description":"Secret not found."}'),
    'Secret not found.',
    true,
  ],
  ['a code that is not the status', answer(404, '{"code":500,"description":"x"}'), 'x', false],
  [
    'plain text',
    answer(503, 'The Keystone service\nis unavailable.', 'text/plain'),
    'The Keystone service is unavailable.',
    false,
  ],
  ['HTML', answer(500, '<html><head><title>Bad Gateway</title></head></html>', 'text/html'), 'Bad Gateway', false],
  ['nothing', answer(502, ''), '', false],
  ['JSON of another form', answer(404, '[1]'), '', false],
];
for (const [what, given, text, own] of bodies) {
  test(`an error of ${what} is understood`, () => assert.equal(errorBody(given), { text, own }));
}

test('a token that an answer repeats is left out, ids are not', () => {
  const [token, id] = [`gAAAAA${'Bc-_3'.repeat(34)}==`, '72a66c8e-1f5c-4b1a-9a3c-0f7d1f2b9c11'];
  const { text } = errorBody(answer(404, JSON.stringify({ error: { message: `no token ${token} for ${id}` } })));
  assert.is(text, `no token [...]== for ${id}`);
});

test('an arbitrary body becomes one short line', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 500 }), fc.integer(), (body, status) => {
      const { text } = errorBody({ status, headers: {}, body: Buffer.from(body) });
      assert.ok(text.length <= 203 && !/[\r\n]/.test(text));
    }),
  );
});

test('times are UTC, with or without a zone', () => {
  const expected = Date.UTC(2026, 10, 24, 3, 33, 15);
  assert.is(parseTime('2026-11-24T03:33:15.000000Z'), expected);
  assert.is(parseTime('2026-11-24T03:33:15'), expected);
  assert.is(parseTime('2026-11-24T03:33:15.123456'), expected + 123);
  assert.is(parseTime('2026-11-24T04:33:15+01:00'), expected);
  assert.ok(Number.isNaN(parseTime('yesterday')));
  assert.ok(Number.isNaN(parseTime(undefined)));
});

const catalog = [
  { type: 'identity', endpoints: [] },
  {
    type: 'key-manager',
    endpoints: [
      { interface: 'public', region: 'A', url: 'http://a/' },
      { interface: 'public', region: 'B', url: 'http://b' },
      { interface: 'internal', region: 'B', url: 'http://ib' },
    ],
  },
];

test('an endpoint is found by interface and region', () => {
  assert.is(findEndpoint(catalog, 'key-manager', { interface: 'public', region: undefined }), 'http://a');
  assert.is(findEndpoint(catalog, 'key-manager', { interface: 'public', region: 'B' }), 'http://b');
  assert.is(findEndpoint(catalog, 'key-manager', { interface: 'internal', region: undefined }), 'http://ib');
});

test('what the catalog has instead is named', async () => {
  const find = (type: string, region: string) => () => findEndpoint(catalog, type, { interface: 'admin', region });
  const service = await rejectsWithCode(find('image', 'A'), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(service.message, 'it has: identity, key-manager');
  const endpoint = await rejectsWithCode(find('key-manager', 'A'), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(endpoint.message, 'public in A, public in B, internal in B');
});

test.run();
